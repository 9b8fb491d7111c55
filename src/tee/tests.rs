//! What is kept, what a sink is told, and what the stream notices of it: nothing.

mod budget;
mod layer;
mod recording;
mod request;
mod sink;

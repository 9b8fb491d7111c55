//! Every dialect, whole, in pieces, cut short and broken; and what reading it costs.

mod asked;
mod bedrock;
mod broken;
mod counts;
mod cuts;
mod detect;
mod guard;
mod large;
mod layer;
mod left;
mod memory;
mod random;
mod reference;
mod samples;
mod streams;
mod table;
mod unknown;
mod whole;

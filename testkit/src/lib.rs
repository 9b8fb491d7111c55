//! Scripted bodies, raw clients and faulty upstreams.

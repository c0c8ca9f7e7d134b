//! The gateway as a whole, in memory and in virtual time: one behaviour a file, one program, so that it is
//! linked once.

mod world;

mod forbidden;
mod forward_secrecy;
mod handover;
mod refused_peers;
mod replay;
mod strangers;

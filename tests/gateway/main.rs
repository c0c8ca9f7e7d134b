//! The gateway as a whole, in memory and in virtual time: one behaviour a file, one program, so that it is
//! linked once.

mod world;

mod handover;
mod forbidden;
mod refused_peers;
mod forward_secrecy;
mod replay;
mod strangers;

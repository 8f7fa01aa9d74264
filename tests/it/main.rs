//! The whole program against its peers, over real sockets.

mod layers;
mod publisher;

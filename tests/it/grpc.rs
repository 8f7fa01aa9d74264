//! What every gRPC listener has, over real sockets.

mod health;
mod listener;
mod reflection;
mod rotation;

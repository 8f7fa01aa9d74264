//! Requests to Cloud Controller: with a token, within its rate limit, and lists page by page.

mod budget;
mod client;
mod keyset;
mod list;
mod token;

pub(super) use self::{
    budget::Budget,
    client::Client,
    keyset::Keyset,
    list::{List, MAX_GUIDS, filter, one_page},
};
#[cfg(any(test, fuzzing))]
pub(super) use list::fuzz_page;

//! The commands that ask a running daemon: each prints one of its pages.

use std::{process::ExitCode, time::Duration};

use reqwest::{Client, StatusCode, header};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::{
    admin::Admin,
    say::{complain, say},
};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(2);
/// What a script is told of a daemon that is not ready, or is not there to say so.
const NOT_READY: u8 = 2;
/// A header of what is wrong or not: how many things somebody has to look at.
const WORRIES: &str = "copilot-worries";
/// The page that says whether all is well.
const STATUS: &str = "/debug/status";

/// How it is asked, and how its answer is printed.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    admin: Admin,
    /// JSON in place of words.
    #[arg(long)]
    json: bool,
    /// Ask again every two seconds, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The hostname, and the path if that matters: `shop.example.com/cart`, or a whole URL.
    url: String,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(super) struct Routes {
    /// Those with this in their hostname.
    #[arg(long)]
    host: Option<String>,
    /// Those that lead to an app whose guid begins so.
    #[arg(long)]
    app: Option<String>,
    /// Most lines, up to 10,000 [default: 1000].
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(super) struct Instances {
    /// Those behind routes with this in their hostname.
    #[arg(long)]
    host: Option<String>,
    /// Those of an app whose guid begins so.
    #[arg(long)]
    app: Option<String>,
    /// Those on the cell with this address.
    #[arg(long)]
    cell: Option<String>,
    /// Most lines, up to 10,000 [default: 1000].
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(super) struct Sinks {
    /// Those with this in their address or name.
    #[arg(long)]
    peer: Option<String>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(super) struct Resources {
    /// A collection, or a resource of one: `COLLECTION/NAME`. All collections without it.
    name: Option<String>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rejected {
    /// What has this in its hostname or name.
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(super) struct Changes {
    /// Of this hostname alone, which is a whole one.
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// A page of the daemon's.
pub(super) struct Page {
    path: String,
    query: Vec<(&'static str, String)>,
    options: Options,
}

impl Page {
    fn new(path: impl Into<String>, options: Options) -> Self {
        Self {
            path: path.into(),
            query: Vec::new(),
            options,
        }
    }

    fn with(mut self, key: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (key, value.to_string())));
        self
    }

    pub(super) fn status(options: Options) -> Self {
        Self::new(STATUS, options)
    }

    pub(super) fn certificates(options: Options) -> Self {
        Self::new("/debug/certificates", options)
    }

    /// Prints the page: 0 if all is well, 1 if something is wrong or not there, 2 if the daemon is not ready; with `--watch`
    /// what it was last.
    pub(super) async fn print(self) -> anyhow::Result<ExitCode> {
        let client = Admin::client()?;
        if !self.options.watch {
            return match self.once(&client).await {
                Err(error) if self.path == STATUS => {
                    complain!("copilot: {error:#}\n");
                    Ok(self.unanswered())
                }
                answered => answered,
            };
        }
        let mut last = ExitCode::SUCCESS;
        let mut interrupted = signal(SignalKind::interrupt())?;
        while say!("\x1b[2J\x1b[H") {
            let look = async {
                // The daemon may be away for a moment.
                last = self.once(&client).await.unwrap_or_else(|error| {
                    say!("{error:#}\n");
                    self.unanswered()
                });
                tokio::time::sleep(EVERY).await;
            };
            tokio::select! {
                () = look => {}
                _ = interrupted.recv() => break,
            }
        }
        Ok(last)
    }

    /// What a script is told when nobody answers: that is no better than a daemon that is not ready.
    fn unanswered(&self) -> ExitCode {
        if self.path == STATUS {
            ExitCode::from(NOT_READY)
        } else {
            ExitCode::FAILURE
        }
    }

    async fn once(&self, client: &Client) -> anyhow::Result<ExitCode> {
        let Self {
            path,
            query,
            options,
        } = self;
        let mut url = Url::parse(&options.admin.url(path))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let accept = if options.json {
            "application/json"
        } else {
            "text/plain"
        };
        let request = client.get(url).header(header::ACCEPT, accept);
        let answer = options.admin.send(request).await?;
        let status = answer.status();
        let worries = answer.headers().get(WORRIES);
        let is_well = worries.is_none_or(|worries| worries == "0");
        let text = answer.text().await?;
        if text.is_empty() {
            say!("{status}\n");
        } else {
            say!("{}\n", text.trim_end());
        }
        Ok(match status {
            StatusCode::OK if is_well => ExitCode::SUCCESS,
            StatusCode::SERVICE_UNAVAILABLE => ExitCode::from(NOT_READY),
            _ => ExitCode::FAILURE,
        })
    }
}

impl From<Explain> for Page {
    fn from(Explain { url, options }: Explain) -> Self {
        Self::new(explain(&url), options)
    }
}

/// The page that explains what somebody has pasted, which the daemon takes apart: it is one segment, whatever is in it.
pub(super) fn explain(asked: &impl ToString) -> String {
    let mut url = Url::parse("http://daemon/debug/explain").expect("it is a URL");
    let mut segments = url.path_segments_mut().expect("it has a path");
    segments.push(&asked.to_string());
    drop(segments);
    url.path().to_owned()
}

impl From<Routes> for Page {
    fn from(routes: Routes) -> Self {
        Self::new("/debug/routes", routes.options)
            .with("host", routes.host)
            .with("app", routes.app)
            .with("limit", routes.limit)
    }
}

impl From<Instances> for Page {
    fn from(instances: Instances) -> Self {
        Self::new("/debug/instances", instances.options)
            .with("host", instances.host)
            .with("app", instances.app)
            .with("cell", instances.cell)
            .with("limit", instances.limit)
    }
}

impl From<Sinks> for Page {
    fn from(sinks: Sinks) -> Self {
        Self::new("/debug/peers", sinks.options).with("peer", sinks.peer)
    }
}

impl From<Resources> for Page {
    fn from(Resources { name, options }: Resources) -> Self {
        match name {
            Some(name) => {
                let name = name.trim_start_matches('/');
                Self::new(format!("/debug/resources/{name}"), options)
            }
            None => Self::new("/debug/snapshot", options),
        }
    }
}

impl From<Rejected> for Page {
    fn from(Rejected { host, options }: Rejected) -> Self {
        Self::new("/debug/rejected", options).with("host", host)
    }
}

impl From<Changes> for Page {
    fn from(Changes { host, options }: Changes) -> Self {
        Self::new("/debug/changes", options).with("host", host)
    }
}

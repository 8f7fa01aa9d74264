//! `copilot bug-report`: everything that somebody needs who was not there, in one archive, and nothing secret.

mod logs;
mod redacted;

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::ExitCode,
    time::SystemTime,
};

use anyhow::Context as _;
use flate2::{Compression, write::GzEncoder};
use reqwest::{Client, header};
use serde_json::Value;

use self::redacted::Redacted;
use super::{
    VERSION,
    admin::Admin,
    ask::explain,
    say::{complain, say},
};
use crate::{admin::PAGES, explain::Asked};

/// Most bytes of one page, and of all together: what goes on is cut, and says so.
const MAX_ENTRY: usize = 16 << 20;
const MAX_ALL: usize = 96 << 20;
/// Resources of each collection that are there whole.
const MAX_RESOURCES: usize = 50;

/// In place of the logs.
const WITHOUT_CONFIG: &str =
    "without the config the secrets in them are not known: see config.json\n";

/// What goes into it, and where it is written.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    admin: Admin,
    /// The config file, which is there without its secrets.
    #[arg(long, env = "COPILOT_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of the logs, of which the ends are there.
    #[arg(long, env = "COPILOT_LOGS")]
    logs: Option<PathBuf>,
    /// A hostname that it is about, with the path if that matters: what explains it, and its resources whole.
    #[arg(long)]
    host: Option<Asked>,
    /// The archive; in the present folder, with the time in its name, if nothing is said.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The archive as it grows.
struct Archive<W: Write> {
    tar: tar::Builder<W>,
    folder: String,
    /// What is nowhere in it, if it is known.
    redacted: Option<Redacted>,
    /// Bytes that still fit.
    left: usize,
    time: SystemTime,
}

impl<W: Write> Archive<W> {
    fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        let known = self.redacted.as_ref();
        let clean = known.map_or_else(
            || redacted::clean_of_others(text),
            |known| known.clean(text),
        );
        let mut text = clean;
        let fits = self.left.min(MAX_ENTRY);
        if text.len() > fits {
            text.truncate(text.floor_char_boundary(fits));
            text.push_str("\n[cut]\n");
        }
        self.left = self.left.saturating_sub(text.len());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len().try_into().unwrap_or(u64::MAX));
        header.set_mode(0o600);
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH);
        header.set_mtime(since.unwrap_or_default().as_secs());
        let path = format!("{}/{name}", self.folder);
        self.tar.append_data(&mut header, path, text.as_bytes())
    }
}

/// Writes the archive, also of a daemon that does not answer: then that is in it.
pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let time = SystemTime::now();
    let stamp = humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace(':', "");
    let folder = format!("copilot-bug-report-{stamp}");
    let output = options.output.clone();
    let output = output.unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    let writing = || format!("writing {}", output.display());
    // What is there may be another's.
    // It says much of a foundation.
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&output);
    let file = file.with_context(writing)?;
    let (config, redacted) = redacted::read(options.config.as_deref());
    let mut archive = Archive {
        tar: tar::Builder::new(GzEncoder::new(file, Compression::default())),
        folder,
        redacted,
        left: MAX_ALL,
        time,
    };
    archive
        .add("version.txt", &format!("{VERSION}\n"))
        .with_context(writing)?;
    archive.add("config.json", &config).with_context(writing)?;
    archive.add("system.txt", &system()).with_context(writing)?;
    options.pages(&mut archive).await.with_context(writing)?;
    let logs = match archive.redacted {
        Some(_) => logs::ends(options.logs.as_deref()),
        // Secrets that are not known cannot be taken out.
        None => vec![(logs::NONE.to_owned(), WITHOUT_CONFIG.to_owned())],
    };
    let has_logs = logs.iter().any(|(name, _)| name != logs::NONE);
    for (name, text) in logs {
        archive
            .add(&format!("logs/{name}"), &text)
            .with_context(writing)?;
    }
    let has_config = archive.redacted.is_some();
    let file = archive.tar.into_inner().and_then(GzEncoder::finish);
    let bytes = file
        .and_then(|file| file.metadata())
        .with_context(writing)?
        .len();
    say!("{}: {bytes} bytes\n", output.display());
    options.tell_missing(has_config, has_logs).await?;
    Ok(ExitCode::SUCCESS)
}

/// What the machine says of itself.
fn system() -> String {
    let files = [
        "/proc/version",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/uptime",
    ];
    let read = files.map(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"));
        format!("== {path}\n{text}")
    });
    read.concat()
}

impl Options {
    /// Says what is not in the archive: whoever sends it can still do something about that.
    async fn tell_missing(&self, has_config: bool, has_logs: bool) -> anyhow::Result<()> {
        if !has_config {
            complain!("without the config: --config names no file that can be read\n");
        }
        if !has_logs {
            complain!(
                "without logs: --logs names no folder with any, or --config no file that says what is secret in them\n"
            );
        }
        let request = Admin::client()?.get(self.admin.url("/healthz"));
        if let Err(error) = self.admin.send(request).await {
            complain!("without pages: {error:#}\n");
        }
        Ok(())
    }

    async fn pages(&self, archive: &mut Archive<impl Write>) -> anyhow::Result<()> {
        let client = Admin::client()?;
        for (path, _) in PAGES {
            let text = self.page(&client, path, "application/json").await;
            archive.add(&format!("pages{path}"), &text)?;
        }
        for path in [
            "/debug/status",
            "/debug/changes",
            "/debug/rejected",
            "/debug/peers",
        ] {
            let text = self.page(&client, path, "text/plain").await;
            archive.add(&format!("pages{path}.txt"), &text)?;
        }
        if let Some(asked) = &self.host {
            let text = self.page(&client, &explain(asked), "text/plain").await;
            archive.add("explain.txt", &text)?;
        }
        let snapshot = self
            .page(&client, "/debug/snapshot", "application/json")
            .await;
        let snapshot: Value = serde_json::from_str(&snapshot).unwrap_or_default();
        let collections = snapshot["collections"].as_object();
        for collection in collections.into_iter().flat_map(serde_json::Map::keys) {
            self.collection(&client, collection, archive).await?;
        }
        Ok(())
    }

    async fn collection(
        &self,
        client: &Client,
        collection: &str,
        archive: &mut Archive<impl Write>,
    ) -> anyhow::Result<()> {
        let path = format!("/debug/resources/{collection}");
        let listed = self.page(client, &path, "application/json").await;
        archive.add(&format!("resources/{collection}.json"), &listed)?;
        let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
        let host = self.host.as_ref().map(|asked| asked.host.as_str());
        let is_of_host = |name: &&String| host.is_some_and(|host| name.contains(host));
        let names = || {
            listed
                .as_object()
                .into_iter()
                .flat_map(serde_json::Map::keys)
        };
        let (own, others) = (
            names().filter(is_of_host),
            names().filter(|name| !is_of_host(name)),
        );
        for name in own.chain(others).take(MAX_RESOURCES) {
            let whole = self
                .page(client, &format!("{path}/{name}"), "application/json")
                .await;
            archive.add(&format!("resources/{collection}/{name}.json"), &whole)?;
        }
        Ok(())
    }

    /// A page, or why there is none: a daemon that does not answer is what some reports are about.
    async fn page(&self, client: &Client, path: &str, form: &str) -> String {
        let request = client
            .get(self.admin.url(path))
            .header(header::ACCEPT, form);
        let text = async {
            let mut answer = self.admin.send(request).await?;
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > MAX_ENTRY {
                    break;
                }
            }
            anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        text.await.unwrap_or_else(|error| format!("{error:#}\n"))
    }
}

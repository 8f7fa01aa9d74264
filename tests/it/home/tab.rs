//! A tab of a browser, by the protocol of its developer tools: what is typed there, and when it has passed so much time.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::mesh::LONG;

/// It ends with its browser.
pub struct Tab {
    browser: Child,
    _profile: TempDir,
    socket: WebSocketStream<TcpStream>,
    /// The tab within the browser.
    session: Value,
    asked: u64,
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.browser.kill().ok();
        self.browser.wait().ok();
    }
}

impl Tab {
    /// Opens a page.
    pub async fn open(browser: &str, url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(browser);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()));
        let mut browser = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(browser.stderr.take().unwrap()).lines();
        let found = lines.find_map(|line| Some(line.ok()?.split_once("ws://")?.1.to_owned()));
        let at = found.expect("the browser says where it listens");
        // Read to the end, or the browser would wait for its reader.
        std::thread::spawn(move || lines.for_each(drop));
        let stream = TcpStream::connect(at.split('/').next().unwrap()).await;
        let socket = client_async(format!("ws://{at}"), stream.unwrap()).await;
        let mut tab = Self {
            browser,
            _profile: profile,
            socket: socket.unwrap().0,
            session: Value::Null,
            asked: 0,
        };
        let target = tab.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let target = target.await["targetId"].clone();
        let attach = json!({ "targetId": target, "flatten": true });
        tab.session = tab.ask("Target.attachToTarget", attach).await["sessionId"].clone();
        tab.ask("Page.enable", json!({})).await;
        tab.ask("Page.navigate", json!({ "url": url })).await;
        tab.told("Page.loadEventFired").await;
        tab
    }

    /// What an expression is there; null if it is undefined.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let expression = json!({ "expression": expression });
        self.ask("Runtime.evaluate", expression).await["result"]["value"].clone()
    }

    /// Types into what has the focus.
    pub async fn type_in(&mut self, text: &str) {
        self.ask("Input.insertText", json!({ "text": text })).await;
    }

    /// Has the page's clock move on, as fast as it can; the page stays.
    pub async fn let_pass(&mut self, time: Duration) {
        self.hurry(time, "Emulation.virtualTimeBudgetExpired").await;
    }

    /// The same until the page has been read anew.
    pub async fn reads_anew_within(&mut self, time: Duration) {
        self.hurry(time, "Page.loadEventFired").await;
    }

    async fn hurry(&mut self, time: Duration, until: &str) {
        let budget = u64::try_from(time.as_millis()).unwrap();
        let policy = json!({ "policy": "pauseIfNetworkFetchesPending", "budget": budget });
        self.send("Emulation.setVirtualTimePolicy", policy).await;
        self.told(until).await;
    }

    async fn send(&mut self, method: &str, params: Value) {
        self.asked += 1;
        let mut question = json!({ "id": self.asked, "method": method, "params": params });
        if !self.session.is_null() {
            question["sessionId"] = self.session.clone();
        }
        let question = Message::text(question.to_string());
        self.socket.send(question).await.unwrap();
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(method, params).await;
        let asked = self.asked;
        let answer = self.next(|told| told["id"] == asked).await;
        assert!(answer["error"].is_null(), "{method}: {answer:#}");
        answer["result"].clone()
    }

    async fn told(&mut self, event: &str) {
        self.next(|told| told["method"] == event).await;
    }

    async fn next(&mut self, is_meant: impl Fn(&Value) -> bool) -> Value {
        let found = timeout(LONG, async {
            loop {
                let message = self.socket.next().await.unwrap().unwrap();
                let told = serde_json::from_str(message.to_text().unwrap()).unwrap();
                if is_meant(&told) {
                    return told;
                }
            }
        });
        found.await.expect("the browser answers")
    }
}

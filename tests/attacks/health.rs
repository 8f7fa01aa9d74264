//! Asks for `/healthz` again and again, each time on a new connection, from a thread that nothing else keeps busy.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::figures::Times;

const EVERY: Duration = Duration::from_millis(5);
/// Then it is asked anew, and the time goes on.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Times>,
}

impl Prober {
    pub fn start(admin: SocketAddr, begun: Instant) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut times = Times::default();
            let mut since = Instant::now();
            while !stopped.load(Relaxed) {
                if ask(admin).is_ok() {
                    times.add(since.elapsed(), since - begun);
                    thread::sleep(EVERY);
                    since = Instant::now();
                }
            }
            times
        });
        Self { stop, thread }
    }

    pub fn stop(self) -> Times {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn ask(admin: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

//! The control socket: one JSON document a line, asked and answered.

use std::{
    fs, io,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream as StdStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader as TokioReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc::UnboundedSender, oneshot},
};

/// What the daemon can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Services, clusters, nodes, shares, epoch, events.
    Status,
    /// Where flows go, and why.
    Explain {
        /// Each `PROTO SRC:PORT DST:PORT`.
        flows: Vec<String>,
    },
    /// Let a recovered cluster that is held back take its flows home.
    Release {
        /// Its name.
        cluster: String,
    },
    /// Read the configuration again.
    Reload,
}

/// A request with the place for its answer, one line of JSON.
pub type Asked = (Request, oneshot::Sender<String>);

/// The socket could not be opened or asked.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum ControlError {
    #[error("cannot {operation} the control socket {path}: {source}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("the daemon refused: {0}")]
    Refused(String),
}

/// A listening control socket, removed when dropped.
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Listens, for root and the socket's group only. The caller holds the lock of the pins, so a
    /// socket that is there already is a dead daemon's.
    ///
    /// # Errors
    /// Its directory cannot be made, or it cannot be bound.
    pub fn listen(path: &Path) -> Result<Self, ControlError> {
        let failed =
            |operation| move |source| ControlError::Io { operation, path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("replace")(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed("open"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))
            .map_err(failed("set the permissions of"))?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Takes requests until the receiver of `asked` is gone.
    pub async fn serve(self, asked: UnboundedSender<Asked>) {
        while !asked.is_closed() {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(answer(stream, asked.clone()));
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may be gone already; a later daemon replaces what is left.
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, asked: UnboundedSender<Asked>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = TokioReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let reply = match serde_json::from_str(&line) {
            Ok(request) => {
                let (send, receive) = oneshot::channel();
                if asked.send((request, send)).is_err() {
                    return;
                }
                match receive.await {
                    Ok(reply) => reply,
                    Err(_) => return,
                }
            }
            Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
        };
        if writer.write_all(format!("{reply}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Asks the daemon, and returns its answer, one line of JSON.
///
/// # Errors
/// Nobody listens there, or the daemon refuses.
pub fn ask(path: &Path, request: &Request) -> Result<String, ControlError> {
    let failed =
        |operation| move |source| ControlError::Io { operation, path: path.to_owned(), source };
    let mut stream = StdStream::connect(path).map_err(failed("reach the daemon at"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed("use"))?;
    let line = serde_json::to_string(request).map_err(|e| failed("write to")(e.into()))?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(failed("write to"))?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).map_err(failed("read from"))?;
    match serde_json::from_str::<Refusal>(&reply) {
        Ok(refusal) => Err(ControlError::Refused(refusal.error)),
        Err(_) => Ok(reply),
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

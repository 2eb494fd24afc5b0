//! The control socket: one JSON document a line, asked and answered.

use std::{
    fs, io,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream as StdStream,
    },
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
    /// All events that are kept.
    Events,
    /// Where flows go, and why.
    Explain {
        /// Each `PROTO SRC:PORT DST:PORT`.
        flows: Vec<String>,
        /// Of each a packet that does not open it.
        #[serde(default)]
        established: bool,
    },
    /// Let a recovered cluster that is held back take its flows home.
    Release {
        /// Its name.
        cluster: String,
    },
    /// Give a node or cluster no new flows; its connections may end.
    Drain {
        /// `CLUSTER` or `CLUSTER/NODE`.
        whom: String,
    },
    /// Put a node, or all of a cluster, in service again.
    Undrain {
        /// `CLUSTER` or `CLUSTER/NODE`.
        whom: String,
    },
    /// As [`Request::Drain`]; without checks, and its connections are cut at the drain limit.
    Maintain {
        /// `CLUSTER` or `CLUSTER/NODE`.
        whom: String,
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
    #[error("{0} is there already and is not a socket; name another path in [lb] socket")]
    NotASocket(PathBuf),
    #[error("another daemon answers at the control socket {0}; give each its own with [lb] socket")]
    InUse(PathBuf),
    #[error("the daemon refused: {0}")]
    Refused(String),
}

/// A listening control socket, removed when dropped.
pub struct Socket {
    path: PathBuf,
    /// Device and inode, to remove only what is its own.
    identity: (u64, u64),
    listener: UnixListener,
}

impl Socket {
    /// Listens, for root and the socket's group only. A socket that nobody answers at is a dead
    /// daemon's, and is replaced.
    ///
    /// # Errors
    /// Its directory cannot be made, it cannot be bound, or something else is there.
    pub fn listen(path: &Path) -> Result<Self, ControlError> {
        let failed =
            |operation| move |source| ControlError::Io { operation, path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
        }
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(ControlError::NotASocket(path.to_owned()));
            }
            Ok(_) if StdStream::connect(path).is_ok() => {
                return Err(ControlError::InUse(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(failed("replace"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at")(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed("open"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))
            .map_err(failed("set the permissions of"))?;
        let identity = fs::symlink_metadata(path).map_err(failed("look at"))?;
        let identity = (identity.dev(), identity.ino());
        Ok(Self { path: path.to_owned(), identity, listener })
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
        let there = fs::symlink_metadata(&self.path).map(|there| (there.dev(), there.ino()));
        if there.is_ok_and(|there| there == self.identity) {
            // A later daemon replaces what is left.
            let _ = fs::remove_file(&self.path);
        }
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

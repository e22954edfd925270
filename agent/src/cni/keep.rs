//! Keeps our entry in the network's list: whoever manages that may write it anew.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use tokio::time::{sleep, timeout};

use super::install::{Ensured, Places};

/// How long a directory must rest before it is looked at: who writes a file writes often more than once.
const REST: Duration = Duration::from_millis(100);

/// It is looked at this often even if nothing was heard.
const ROUND: Duration = Duration::from_secs(60);

/// Looks after a directory of networks until it is dropped.
pub(crate) async fn keep(conf: &Path) {
    let places = Places { bin: conf.to_owned(), conf: conf.to_owned() };
    loop {
        if let Err(error) = follow(&places).await {
            tracing::debug!(path = %conf.display(), %error, "cannot watch the directory of networks");
            ensure(&places);
        }
        sleep(ROUND).await;
    }
}

/// Follows the directory for as long as it is there.
async fn follow(places: &Places) -> std::io::Result<()> {
    let inotify = Inotify::init()?;
    let mask =
        WatchMask::CLOSE_WRITE | WatchMask::MOVE | WatchMask::DELETE | WatchMask::DELETE_SELF | WatchMask::ONLYDIR;
    inotify.watches().add(&places.conf, mask)?;
    let mut events = inotify.into_event_stream([0; 4096])?;
    loop {
        ensure(places);
        match timeout(ROUND, events.next()).await {
            Ok(Some(Ok(event))) if event.mask.contains(inotify::EventMask::IGNORED) => return Ok(()),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(error),
            Ok(Some(Ok(_))) | Err(_) => {}
        }
        while let Ok(Some(Ok(_))) = timeout(REST, events.next()).await {}
    }
}

fn ensure(places: &Places) {
    match places.ensure() {
        Ok(Ensured::Changed(path)) => {
            tracing::warn!(path = %path.display(), "podgate-cni was not in the network's list; added it");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(error = format!("{error:#}"), "cannot keep podgate-cni in the network's list"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::super::NAME;
    use super::*;

    #[tokio::test]
    async fn the_entry_is_put_back_when_the_network_is_written_anew() {
        let directory = TempDir::new().unwrap();
        let (conf, list) = (directory.path().to_owned(), directory.path().join("10-a.conflist"));
        fs::write(directory.path().join("podgate-cni.entry"), format!(r#"{{"type":"{NAME}"}}"#)).unwrap();
        let keeper = tokio::spawn(async move { keep(&conf).await });
        for _ in 0..2 {
            fs::write(&list, r#"{"name":"a","plugins":[{"type":"ptp"}]}"#).unwrap();
            let mut ticks = 0;
            while !fs::read_to_string(&list).unwrap().contains(NAME) {
                ticks += 1;
                assert!(ticks < 500, "the entry did not come back");
                sleep(Duration::from_millis(10)).await;
            }
        }
        keeper.abort();
    }
}

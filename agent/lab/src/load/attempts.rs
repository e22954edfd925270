//! Making many attempts on one thread.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::exchange::{Exchange, Progress};
use super::{Attempt, Load};

/// How often the clock is looked at.
const BEAT: Duration = Duration::from_millis(5);

/// Makes the attempts of a load in the network namespace of the calling thread.
pub(super) fn make(load: &Load) -> io::Result<Vec<Attempt>> {
    allow_many_files()?;
    let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut run = Run { load, ready, begun: 0, open: BTreeMap::new(), over: Vec::new() };
    while run.begun < load.attempts || !run.open.is_empty() {
        run.begin_more()?;
        run.go_on()?;
        run.look_at_the_clock();
    }
    Ok(run.over)
}

/// Each attempt under way holds one, and the server's end in this process another.
fn allow_many_files() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

struct Run<'a> {
    load: &'a Load,
    ready: Epoll,
    begun: u16,
    /// By the number of the attempt.
    open: BTreeMap<u16, Exchange>,
    over: Vec<Attempt>,
}

impl Run<'_> {
    fn begin_more(&mut self) -> io::Result<()> {
        while self.begun < self.load.attempts && self.open.len() < self.load.at_once {
            let number = self.begun;
            self.begun += 1;
            match Exchange::begin(self.load, number)? {
                Ok(exchange) => {
                    let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
                    self.ready.add(exchange.socket(), EpollEvent::new(interest, number.into()))?;
                    self.open.insert(number, exchange);
                }
                Err(attempt) => self.over.push(attempt),
            }
        }
        Ok(())
    }

    fn go_on(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.ready.wait(&mut events, BEAT.as_millis() as u8) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            let number = event.data() as u16;
            let progress = self.open.get_mut(&number).map(|exchange| exchange.go_on(self.load));
            self.settle(number, progress);
        }
        Ok(())
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        let numbers: Vec<u16> = self.open.keys().copied().collect();
        for number in numbers {
            let progress = self.open.get_mut(&number).map(|exchange| exchange.at(now, self.load));
            self.settle(number, progress);
        }
    }

    fn settle(&mut self, number: u16, progress: Option<Progress>) {
        if let Some(Progress::Over(attempt)) = progress {
            self.open.remove(&number);
            self.over.push(attempt);
        }
    }
}

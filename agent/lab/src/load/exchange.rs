//! One attempt: a socket that asks and waits for answers.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::{ANSWER, Attempt, Fate, Load};
use crate::probe::any;
use crate::service::Transport;

/// An attempt under way.
pub(super) struct Exchange {
    socket: Socket,
    from: SocketAddr,
    number: u16,
    state: Step,
    /// Who has answered.
    by: Option<u64>,
    /// How many questions were answered.
    answered: u32,
    answer: Vec<u8>,
    deadline: Instant,
}

enum Step {
    Connecting,
    /// A question is out.
    Asking,
    /// The next question has time until then.
    Resting(Instant),
}

/// Whether an attempt goes on.
pub(super) enum Progress {
    Pending,
    Over(Attempt),
}

impl Exchange {
    /// Begins an attempt. The inner result is an attempt that ended at once.
    pub(super) fn begin(load: &Load, number: u16) -> io::Result<Result<Self, Attempt>> {
        let (kind, protocol) = match load.transport {
            Transport::Udp => (Type::DGRAM, Protocol::UDP),
            Transport::Tcp | Transport::Sctp => (Type::STREAM, Protocol::TCP),
        };
        let socket = Socket::new(Domain::for_address(load.to), kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(any(load.to.ip()), load.first_port + number).into())?;
        let begun = socket.connect(&load.to.into());
        let from = socket.local_addr()?.as_socket().expect("the socket is of an IP family");
        if let Err(error) = begun
            && error.raw_os_error() != Some(libc::EINPROGRESS)
        {
            return Ok(Err(Attempt { from, fate: failed(&error) }));
        }
        let deadline = Instant::now() + load.patience;
        let answer = Vec::with_capacity(ANSWER);
        Ok(Ok(Self { socket, from, number, state: Step::Connecting, by: None, answered: 0, answer, deadline }))
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Does what can be done now that something has happened to the socket.
    pub(super) fn go_on(&mut self, load: &Load) -> Progress {
        let outcome = match self.state {
            Step::Connecting => self.ask_first(load),
            Step::Asking => self.listen(load),
            Step::Resting(_) => Ok(None),
        };
        match outcome {
            Ok(None) => Progress::Pending,
            Ok(Some(fate)) => self.over(fate),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Pending,
            Err(error) => self.over(failed(&error)),
        }
    }

    /// Does what is due at this time.
    pub(super) fn at(&mut self, now: Instant, load: &Load) -> Progress {
        match self.state {
            Step::Resting(until) if now < until => Progress::Pending,
            Step::Resting(_) => match self.ask(load) {
                Ok(()) => Progress::Pending,
                Err(error) => self.over(failed(&error)),
            },
            Step::Connecting | Step::Asking if now < self.deadline => Progress::Pending,
            Step::Connecting | Step::Asking if self.answered == 0 => self.over(Fate::Silence),
            Step::Connecting | Step::Asking => self.over(Fate::Cut(self.answered)),
        }
    }

    fn over(&self, fate: Fate) -> Progress {
        Progress::Over(Attempt { from: self.from, fate })
    }

    /// Asks once the socket is connected; a TCP socket that is still connecting has no peer.
    fn ask_first(&mut self, load: &Load) -> io::Result<Option<Fate>> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        if self.socket.peer_addr().is_ok() {
            self.ask(load)?;
        }
        Ok(None)
    }

    fn ask(&mut self, load: &Load) -> io::Result<()> {
        self.state = Step::Asking;
        self.deadline = Instant::now() + load.patience;
        let question = self.question();
        self.socket.write_all(&question)
    }

    fn question(&self) -> [u8; 8] {
        (u64::from(self.number) << 32 | u64::from(self.answered)).to_be_bytes()
    }

    fn listen(&mut self, load: &Load) -> io::Result<Option<Fate>> {
        let mut heard = [0; ANSWER];
        while self.answer.len() < ANSWER {
            match self.socket.read(&mut heard[..ANSWER - self.answer.len()])? {
                0 => return Ok(Some(Fate::Failed(libc::EPIPE))),
                length => self.answer.extend_from_slice(&heard[..length]),
            }
        }
        let (by, question) = self.answer.split_at(8);
        let by = u64::from_be_bytes(by.try_into().expect("it was split there"));
        if question != self.question() || self.by.is_some_and(|before| before != by) {
            return Ok(Some(Fate::Wrong));
        }
        self.by = Some(by);
        self.answer.clear();
        self.answered += 1;
        self.state = Step::Resting(Instant::now() + load.pause);
        Ok((self.answered == load.rounds).then_some(Fate::Answered(by)))
    }
}

fn failed(error: &io::Error) -> Fate {
    Fate::Failed(error.raw_os_error().unwrap_or(0))
}

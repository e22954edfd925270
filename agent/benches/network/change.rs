//! How long a change takes to be in force: from the end of writing a file to the first packet that is judged by it.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::tell;
use crate::world::{Kind, POLICIES, World};

/// A port that the policies allow.
const PORT: u16 = 8002;
/// Between two changes, and for how long nothing must arrive to call it silence: on a busy machine a change takes longer
/// than the 50 ms for which the agent waits.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes the client's allow away and gives it back, under a stream of datagrams that each carry the time they were sent.
pub(crate) fn measure(changes: usize) {
    let world = World::new(Kind::PODGATE).unwrap();
    let denied = POLICIES.replace("app: client}}}]", "app: nobody}}}]");
    let arrivals = Arrivals::default();
    let (mut closing, mut opening) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| arrivals.send(&world));
        scope.spawn(|| arrivals.receive(&world));
        for _ in 0..changes / 2 {
            let start = arrivals.change(&world, &denied);
            closing.push(arrivals.last.load(Ordering::Relaxed).saturating_sub(start));
            arrivals.first.store(0, Ordering::Relaxed);
            let start = arrivals.change(&world, POLICIES);
            opening.push(arrivals.first.load(Ordering::Relaxed).saturating_sub(start));
        }
        arrivals.over.store(true, Ordering::Relaxed);
    });
    for (row, times) in [("an allow taken away", closing), ("an allow given", opening)] {
        let milliseconds = times.into_iter().map(|microseconds| microseconds as f64 / 1e3).collect();
        tell("Change of a policy's file", row, "until it is in force", "ms", milliseconds);
    }
}

/// What the server has received, in microseconds since the beginning.
struct Arrivals {
    epoch: Instant,
    /// When the last datagram was sent that arrived.
    last: AtomicU64,
    /// When the first one was sent that arrived since this was set to 0.
    first: AtomicU64,
    over: AtomicBool,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { epoch: Instant::now(), last: AtomicU64::new(0), first: AtomicU64::new(0), over: AtomicBool::new(false) }
    }
}

impl Arrivals {
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Writes policies and waits until they are surely in force; when they were written.
    fn change(&self, world: &World, policies: &str) -> u64 {
        let start = self.now();
        world.manifests.write("policies.yaml", policies).unwrap();
        thread::sleep(PAUSE);
        start
    }

    fn send(&self, world: &World) {
        let socket = world.client.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        socket.connect((world.server.ip4(), PORT)).unwrap();
        while !self.over.load(Ordering::Relaxed) {
            // Refused while the interface's queue is full: the next one will do.
            let _sent = socket.send(&self.now().to_ne_bytes());
            thread::sleep(Duration::from_micros(50));
        }
    }

    fn receive(&self, world: &World) {
        let socket = world.server.run(|| UdpSocket::bind((world.server.ip4(), PORT))).unwrap();
        socket.set_read_timeout(Some(PAUSE)).unwrap();
        let mut sent = [0; 8];
        while !self.over.load(Ordering::Relaxed) {
            if socket.recv(&mut sent).is_ok() {
                let sent = u64::from_ne_bytes(sent);
                self.last.store(sent, Ordering::Relaxed);
                let _earlier = self.first.compare_exchange(0, sent, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }
}

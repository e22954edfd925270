//! Waits for inputs, carries out what the state decides, and answers the servers.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;
use podgate_common::{FlowEvent, Verdict};
use podgate_datapath::{Datapath, Error, Hook, HookReport, HookTask};
use podgate_host::netlink::HostView;
use podgate_policy::op::{EndpointPolicies, Op};
use podgate_source::{Source, Update};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::accounting;
use super::beside_hooks::{BesideHooks, Hooked};
use super::command::{Command, Outcome};
use super::complaints::Complaints;
use super::drops::Drops;
use super::events::{Losses, boot};
use super::handle::{Pulse, Request};
use super::handovers::Standing;
use super::memory::Memory;
use super::planning::Beside;
use super::report::{Count, Reading};
use super::state::State;
use super::upkeep::Check;
use super::waiters::{HandedOverOutcome, Waiters};
use crate::durations::Durations;
use crate::flows::{Connections, Feed, Line};
use crate::status::{Status, TableStatus};

/// The kernel wakes nobody up for a drop event: they are looked for at this interval.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

/// What the kernel has lost is looked up every so many times that events are looked for.
const LOST_EVERY: u32 = 10;

/// In so long all tables are compared once with what was written, a little at a time.
const AUDIT_ROUND: Duration = Duration::from_secs(50);

/// After so long of work at a stretch the engine looks who asks for something.
const SLICE: Duration = Duration::from_millis(50);

/// So long what was begun at hooks is waited for at a stretch, when there is nothing else to do: mostly it ends before, and
/// the next can begin at once.
const HOOK_WAIT: Duration = Duration::from_millis(2);

/// At most so many updates are taken in before the kernel is brought up to date.
const BATCH: usize = 1024;

/// What the engine hears and where it tells.
pub struct Inputs {
    /// Changes of objects, and how their source is doing.
    pub source: Source,
    /// What the host looks like.
    pub views: watch::Receiver<Arc<HostView>>,
    /// What servers ask.
    pub requests: mpsc::Receiver<Request>,
    /// Why the agent is not ready.
    pub not_ready: watch::Sender<Vec<String>>,
    /// The engine's sign of life.
    pub pulse: Pulse,
    /// How long things took.
    pub durations: Durations,
    /// Where flows go.
    pub flows: Feed,
    /// How long a pod that CNI hands over is waited for until it is known.
    pub pod_wait: Duration,
    /// Ends the engine, when something is sent or the sender is gone.
    pub stop: oneshot::Receiver<()>,
}

/// Runs until it is told to stop. Blocks between inputs: to be run in a runtime, and a thread, of its own.
///
/// # Errors
/// When an input has ended, which none does.
pub async fn run(mut inputs: Inputs, state: State, datapath: Datapath, memory: Memory) -> anyhow::Result<()> {
    let mut engine = Engine {
        state,
        datapath,
        memory,
        complaints: Complaints::default(),
        connections: Connections::default(),
        drops: Drops::default(),
        flows: inputs.flows.clone(),
        losses: Losses::default(),
        waiters: Waiters::default(),
        changed: None,
        blind: BTreeSet::new(),
    };
    let mut beside = Beside::start()?;
    let mut hooks = BesideHooks::start(engine.datapath.attacher())?;
    let mut drain = interval(DRAIN_INTERVAL);
    drain.set_missed_tick_behavior(MissedTickBehavior::Delay);
    engine.look_for_losses();
    engine.state.take_view(inputs.views.borrow_and_update().clone());
    engine.state.take_source_status(inputs.source.status.borrow_and_update().clone());
    let mut next_audit = Instant::now();
    let mut drains = 0;
    loop {
        let more = engine.work(&inputs, &beside, &mut hooks).await;
        engine.tell_readiness(&inputs);
        // Whoever asks is answered between two slices of work, however much of that there is.
        while let Ok(request) = inputs.requests.try_recv() {
            engine.take_request(request, &inputs);
        }
        inputs.pulse.beat();
        let now = Instant::now();
        let deadline = [engine.state.deadline(now), engine.waiters.deadline(now)].into_iter().flatten().min();
        tokio::select! {
            _ = &mut inputs.stop => return Ok(()),
            update = inputs.source.updates.recv() => match update {
                Some(update) => engine.take_updates(update, &mut inputs.source.updates),
                None => bail!("the source of objects has ended"),
            },
            Ok(()) = inputs.source.status.changed() => {
                engine.state.take_source_status(inputs.source.status.borrow_and_update().clone());
            }
            view = inputs.views.changed() => match view {
                Ok(()) => engine.state.take_view(inputs.views.borrow_and_update().clone()),
                Err(_) => bail!("the host's network is followed no longer"),
            },
            Some(request) = inputs.requests.recv() => engine.take_request(request, &inputs),
            made = beside.made.recv() => match made {
                Some(made) => engine.state.end_plan(made),
                None => bail!("the planner panicked: see the message above, and report it"),
            },
            hooked = hooks.done.recv() => match hooked {
                Some(hooked) => engine.hooked(hooked),
                None => bail!("the thread for hooks panicked: see the message above, and report it"),
            },
            () = ready(()), if more => {}
            _ = drain.tick() => {
                engine.drain_events();
                drains += 1;
                if drains % LOST_EVERY == 1 {
                    engine.look_for_losses();
                }
            }
            () = sleep_until(next_audit.into()) => next_audit = engine.audit(Instant::now()),
            () = sleep_until(deadline.unwrap_or(now).into()), if deadline.is_some() => {}
        }
    }
}

/// Puts a new value in place of an old one; whether they differ.
fn replace<T: PartialEq>(old: &mut T, new: T) -> bool {
    let differs = *old != new;
    *old = new;
    differs
}

struct Engine {
    state: State,
    datapath: Datapath,
    memory: Memory,
    complaints: Complaints,
    connections: Connections,
    drops: Drops,
    flows: Feed,
    losses: Losses,
    waiters: Waiters,
    /// Since when a change waits to be in force.
    changed: Option<Instant>,
    /// What keeps the agent from knowing its pods, as far as the log was told.
    blind: BTreeSet<String>,
}

impl Engine {
    /// Tells the servers why the agent is not ready, and the log what keeps it from ever being so without help.
    fn tell_readiness(&mut self, inputs: &Inputs) {
        let now = SystemTime::now();
        inputs.not_ready.send_if_modified(|told| replace(told, self.state.not_ready(now)));
        let blind = self.state.blind(now);
        for reason in blind.difference(&self.blind) {
            tracing::warn!(reason, "not ready");
        }
        self.blind = blind;
    }

    fn take_updates(&mut self, first: Update, more: &mut mpsc::Receiver<Update>) {
        // What has happened until now is named by what was known until now.
        self.drain_events();
        self.changed.get_or_insert_with(Instant::now);
        self.state.take_update(first);
        for _ in 1..BATCH {
            let Ok(update) = more.try_recv() else { return };
            self.state.take_update(update);
        }
    }

    /// Does what is to be done now, for a while; whether there is more.
    async fn work(&mut self, inputs: &Inputs, beside: &Beside, hooks: &mut BesideHooks) -> bool {
        let until = Instant::now() + SLICE;
        let more = loop {
            let start = Instant::now();
            if start > until {
                break true;
            }
            let Some(command) = self.state.next(start) else {
                match self.state.begin_plan() {
                    Some(work) if self.state.is_quick(&work) => {
                        self.state.end_plan(work.run());
                        continue;
                    }
                    Some(work) => beside.make(work),
                    None => {}
                }
                // Nothing comes where nothing was begun, so nobody waits for that.
                if self.state.is_at_hooks()
                    && let Ok(Some(hooked)) = timeout(HOOK_WAIT, hooks.done.recv()).await
                {
                    self.hooked(hooked);
                    continue;
                }
                break false;
            };
            if command.is_at_hooks() {
                match self.begin(&command) {
                    Ok(task) => hooks.begin(command, task),
                    Err(error) => self.report(command, failed(0, &error)),
                }
                continue;
            }
            let outcome = self.execute(&command);
            if matches!(command, Command::Apply { .. }) {
                inputs.durations.apply.observe(start.elapsed().as_secs_f64());
            }
            self.report(command, outcome);
        };
        if self.state.take_reattribute() && self.state.attribution.is_wanted() {
            warn(accounting::reattribute(&mut self.state, &self.datapath));
        }
        if self.state.is_up_to_date()
            && let Some(changed) = self.changed.take()
        {
            inputs.durations.change.observe(changed.elapsed().as_secs_f64());
        }
        let kept = self.state.take_enforced().map(|enforced| self.memory.keep(&enforced));
        if let Some(Err(error)) = kept {
            tracing::warn!(%error, "cannot keep for the next agent which interfaces are enforced");
        }
        self.state
            .enforcement_delays
            .take()
            .iter()
            .for_each(|window| inputs.durations.window.observe(window.as_secs_f64()));
        self.waiters.settle(Instant::now(), |ifindex| self.state.standing(ifindex));
        more
    }

    fn take_request(&mut self, request: Request, inputs: &Inputs) {
        match request {
            Request::Status(reply) => {
                // How many objects there are is not told with each change.
                self.state.take_source_status(inputs.source.status.borrow().clone());
                self.answer(reply, &inputs.pulse);
            }
            Request::HandOver(handover, reply) => {
                tracing::info!(pod = %handover.pod, ifindex = handover.ifindex, "CNI hands over a pod");
                self.waiters.add(handover.ifindex, Instant::now() + inputs.pod_wait, reply);
                self.state.hand_over(handover);
            }
            Request::Check(ifindex, reply) => {
                // Whoever asked may have gone.
                drop(reply.send(match self.state.standing(ifindex) {
                    Standing::Enforced => HandedOverOutcome::Enforced,
                    Standing::Isolated => HandedOverOutcome::Isolated,
                    Standing::Pending(reason) => HandedOverOutcome::Failed(reason),
                }));
            }
        }
    }

    fn report(&mut self, command: Command, outcome: Outcome) {
        log(&mut self.complaints, &command, &outcome);
        self.take_in(command, outcome);
    }

    fn take_in(&mut self, command: Command, outcome: Outcome) {
        if self.state.attribution.is_wanted() {
            warn(accounting::after(&mut self.state, &self.datapath, &command, &outcome));
        }
        self.state.report(command, outcome, Instant::now());
    }

    /// Does what concerns tables alone.
    fn execute(&mut self, command: &Command) -> Outcome {
        let result = match command {
            Command::Identify { slot, identity } => self.datapath.identify(*slot, identity),
            Command::Isolate { slot } => {
                return self.apply(&[Op::Switch { slot: *slot, policies: EndpointPolicies::NOTHING }]);
            }
            Command::Defer { changes } => self.datapath.defer(changes),
            Command::Lead { changes } => self.datapath.lead(changes),
            Command::Own { changes } => self.datapath.own_on_link(changes),
            Command::Apply { ops } => return self.apply(ops),
            Command::Check(_) => return self.restore_pins(),
            Command::Release { .. }
            | Command::Attach { .. }
            | Command::Confine { .. }
            | Command::Unconfine { .. }
            | Command::Guard { .. }
            | Command::Link { .. }
            | Command::FinishTakeover => Ok(()),
        };
        result.map_or_else(|error| failed(0, &error), |()| Outcome::Done)
    }

    fn restore_pins(&mut self) -> Outcome {
        match self.datapath.restore_pins() {
            Ok(false) => Outcome::Done,
            Ok(true) => Outcome::Repaired,
            Err(error) => failed(0, &error),
        }
    }

    /// Does what comes before the work at hooks, and says what that is.
    fn begin(&mut self, command: &Command) -> Result<HookTask, Error> {
        match command {
            Command::Attach { slot } | Command::Check(Check::Pod(slot)) => {
                self.datapath.begin_attach(*slot).map(HookTask::with_filter_first)
            }
            Command::Confine { ifindex } | Command::Check(Check::Confined(ifindex)) => {
                self.datapath.begin_confine(*ifindex)
            }
            Command::Guard { ifindex, guard: Some(guard) } | Command::Check(Check::Device(ifindex, guard)) => {
                self.datapath.begin_guard(*ifindex, *guard)
            }
            Command::Link { ifindex } => Ok(HookTask::link(*ifindex)),
            Command::Release { slot } => Ok(self.datapath.begin_release(*slot)),
            Command::Unconfine { ifindex } | Command::Guard { ifindex, guard: None } => Ok(HookTask::detach(*ifindex)),
            Command::FinishTakeover => Ok(HookTask::finish_takeover()),
            Command::Identify { .. }
            | Command::Isolate { .. }
            | Command::Apply { .. }
            | Command::Defer { .. }
            | Command::Lead { .. }
            | Command::Own { .. }
            | Command::Check(Check::Pins) => Ok(HookTask::nothing()),
        }
    }

    /// Takes in how the work at hooks ended, and does what comes after it.
    fn hooked(&mut self, (command, result): Hooked) {
        let ended = result.and_then(|report| self.end(&command, &report).map(|()| report));
        let outcome = match ended {
            Ok(report) if report.changed && matches!(command, Command::Check(_)) => Outcome::Repaired,
            Ok(report) if report.provisional => Outcome::Provisional,
            Ok(_) => Outcome::Done,
            Err(Error::Gone { .. }) if command.is_told_of_departure() => Outcome::Gone,
            Err(error @ Error::Gone { .. }) => {
                // The host's view will tell too. While pods get new sandboxes this is all the time.
                tracing::debug!(?command, %error, "an interface is gone");
                return self.take_in(command, failed(0, &error));
            }
            Err(error) => failed(0, &error),
        };
        self.report(command, outcome);
    }

    fn end(&mut self, command: &Command, report: &HookReport) -> Result<(), Error> {
        match command {
            Command::Release { slot } => self.datapath.end_release(*slot),
            Command::Unconfine { ifindex } | Command::Guard { ifindex, guard: None } => {
                self.datapath.end_detach(*ifindex)
            }
            Command::FinishTakeover => {
                if !report.left.is_empty() {
                    let interfaces = &report.left;
                    tracing::info!(?interfaces, "took a former agent's programs off interfaces without a pod");
                }
                self.datapath.end_takeover()
            }
            _ => Ok(()),
        }
    }

    /// Compares some of what the tables hold with what was written. Returns when to go on.
    fn audit(&mut self, now: Instant) -> Instant {
        match self.datapath.audit() {
            Ok(audited) if audited.repaired > 0 => {
                tracing::warn!(entries = audited.repaired, "tables held what podgate had not written: put right");
                self.state.tables_repaired(audited.repaired);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot compare the tables with what was written"),
        }
        now + AUDIT_ROUND / u32::try_from(self.datapath.audit_steps()).unwrap_or(u32::MAX)
    }

    fn answer(&mut self, reply: oneshot::Sender<Status>, pulse: &Pulse) {
        self.drain_events();
        let reading = self.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read what the kernel counted");
            Reading::default()
        });
        let status = Status {
            uptime_seconds: pulse.uptime().as_secs(),
            hook: hook_name(self.datapath.hook()).to_owned(),
            recent_drops: self.drops.status(Instant::now()),
            ..self.state.status(reading, SystemTime::now())
        };
        // Whoever asked may have gone.
        drop(reply.send(status));
    }

    fn apply(&mut self, ops: &[Op]) -> Outcome {
        self.datapath.apply(ops).map_or_else(|error| failed(error.applied, &error), |()| Outcome::Done)
    }

    fn read(&mut self) -> Result<Reading, Error> {
        let counters = self.datapath.counters()?;
        if self.state.attribution.is_wanted() {
            accounting::see_all(&mut self.state, &self.datapath, &counters)?;
        }
        let counted = counters.into_iter().filter(|(_, counter)| counter.packets > 0);
        let counts = counted.map(|(key, counter)| Count { key, counter }).collect();
        let tables = self.datapath.usage()?.into_iter().map(|usage| TableStatus {
            name: usage.table.to_lowercase(),
            entries: usage.used,
            capacity: usage.capacity,
        });
        let tables = tables.collect();
        Ok(Reading { counts, tables, lost: self.datapath.lost()?, exits: self.datapath.exits()? })
    }

    fn drain_events(&mut self) {
        let mut events: Vec<FlowEvent> = Vec::new();
        self.datapath.drain_events(|event| events.push(*event));
        if events.is_empty() {
            return;
        }
        let (now, boot) = (Instant::now(), boot());
        for event in events {
            let is_former = self.datapath.birth(event.slot).is_none_or(|birth| event.generation < birth);
            let flow = self.state.flow(&event, is_former, self.connections.see(&event), boot);
            if flow.verdict == Verdict::Denied.as_str() {
                self.drops.push(&flow, now);
            }
            self.flows.push(Line::Flow(Box::new(flow)));
        }
    }

    fn look_for_losses(&mut self) {
        match self.datapath.exits() {
            Ok(exits) => self.state.tags.look(exits.untagged),
            Err(error) => tracing::warn!(%error, "cannot read how many packets came without their tag"),
        }
        match self.datapath.lost() {
            Ok(lost) => self.losses.look(lost, self.state.node()).into_iter().for_each(|line| self.flows.push(line)),
            Err(error) => tracing::warn!(%error, "cannot read how many events were lost"),
        }
    }
}

fn warn(read: Result<(), Error>) {
    if let Err(error) = read {
        tracing::warn!(%error, "cannot read what was counted for a pod or rule: it is put to policies later");
    }
}

fn failed(applied: usize, error: &impl ToString) -> Outcome {
    Outcome::Failed { applied, error: error.to_string() }
}

fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Auto => "auto",
        Hook::Tcx => "tcx",
        Hook::Clsact => "clsact",
    }
}

fn log(complaints: &mut Complaints, command: &Command, outcome: &Outcome) {
    let (what, slot, ifindex, changes) = match command {
        Command::Release { slot } => ("release", Some(*slot), None, None),
        Command::Identify { slot, .. } => ("identify", Some(*slot), None, None),
        Command::Isolate { slot } => ("isolate", Some(*slot), None, None),
        Command::Attach { slot } => ("attach", Some(*slot), None, None),
        Command::Confine { ifindex } => ("confine", None, Some(*ifindex), None),
        Command::Unconfine { ifindex } => ("unconfine", None, Some(*ifindex), None),
        Command::Apply { ops } => ("apply", None, None, Some(ops.len())),
        Command::Guard { ifindex, guard: Some(_) } => ("guard", None, Some(*ifindex), None),
        Command::Guard { ifindex, guard: None } => ("unguard", None, Some(*ifindex), None),
        Command::Defer { changes } => ("defer", None, None, Some(changes.len())),
        Command::Lead { changes } => ("lead", None, None, Some(changes.len())),
        Command::Own { changes } => ("own", None, None, Some(changes.len())),
        Command::Link { ifindex } => ("link", None, Some(*ifindex), None),
        Command::FinishTakeover => ("finish takeover", None, None, None),
        Command::Check(Check::Pod(slot)) => ("check", Some(*slot), None, None),
        Command::Check(Check::Confined(ifindex)) => ("check confined", None, Some(*ifindex), None),
        Command::Check(Check::Device(ifindex, _)) => ("check", None, Some(*ifindex), None),
        Command::Check(Check::Pins) => ("check pins", None, None, None),
    };
    let subject = (what, slot, ifindex);
    if !matches!(outcome, Outcome::Failed { .. }) {
        complaints.over(subject);
        if let Command::Release { slot } = command {
            complaints.forget_slot(*slot);
        }
    }
    match outcome {
        Outcome::Done | Outcome::Provisional if matches!(command, Command::Check(_)) => {}
        Outcome::Repaired => {
            tracing::warn!(command = what, slot, ifindex, "somebody had removed what podgate put there: put back")
        }
        Outcome::Done | Outcome::Provisional => tracing::debug!(command = what, slot, ifindex, changes, "done"),
        Outcome::Gone => tracing::debug!(command = what, ifindex, "the interface is gone"),
        Outcome::Failed { applied, error } => {
            // Sandboxes go while something is done at their hooks. The next try tells that apart from what lasts.
            let first = if command.is_at_hooks() { 2 } else { 1 };
            if complaints.is_news(subject, error, first) {
                tracing::warn!(command = what, slot, ifindex, changes, applied, error, "failed; will be tried again");
            } else {
                tracing::debug!(command = what, slot, ifindex, changes, applied, error, "failed");
            }
        }
    }
}

//! How many calls a program makes: where the kernel's returns take a detour (return thunks), a call costs some 8 ns, and is
//! most of what a short program costs.
//!
//! The instructions are those that the kernel runs, after its verifier has removed what cannot be reached and has put
//! simple helpers in place of their calls. Which path a packet takes, instructions do not tell. So paths are given by their
//! bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;

use crate::sys;

/// What a program calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Calls of the kernel's helpers and functions in its code.
    pub helpers: u32,
    /// Calls of functions of its own in its code.
    pub functions: u32,
    /// The fewest and the most calls on a path that ends in this program; `None` if it has loops. Paths on which it goes on
    /// to another program do not count.
    pub path: Option<(u32, u32)>,
}

impl Calls {
    /// Those of a loaded program.
    ///
    /// # Errors
    /// The kernel does not tell the program's instructions, which takes CAP_BPF and CAP_PERFMON.
    pub fn of(program: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::among(&sys::program_instructions(program)?))
    }

    fn among(code: &[u64]) -> Self {
        let mut paths = Paths { code, known: BTreeMap::new(), open: BTreeSet::new() };
        let path = paths.from(0).ok().flatten();
        let all: Vec<Step> = (0..code.len()).map(|at| step(code, at)).collect();
        let helpers = all.iter().filter(|step| matches!(step, Step::Helper)).count();
        let functions = all.iter().filter(|step| matches!(step, Step::Function(_))).count();
        Self { helpers: helpers as u32, functions: functions as u32, path }
    }
}

/// What an instruction does to the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Next(usize),
    Jump(usize),
    Branch(usize),
    Helper,
    /// A function of the program, that begins there.
    Function(usize),
    /// It goes on to another program.
    TailCall,
    Exit,
}

/// Decodes an instruction as the kernel tells it: `opcode:8 dst:4 src:4 offset:16 immediate:32`.
fn step(code: &[u64], at: usize) -> Step {
    const TAIL_CALL: i32 = 12;
    let word = code[at];
    let (opcode, source) = (word as u8, word >> 12 & 0xf);
    let (offset, immediate) = (isize::from((word >> 16) as i16), (word >> 32) as i32);
    let to = |distance: isize| (at + 1).wrapping_add_signed(distance);
    match (opcode & 0x07, opcode & 0xf0) {
        // A constant of 64 bits takes two.
        _ if opcode == 0x18 => Step::Next(at + 2),
        (0x05, 0x00) => Step::Jump(to(offset)),
        (0x06, 0x00) => Step::Jump(to(immediate as isize)),
        (0x05, 0x80) if source == 1 => Step::Function(to(offset)),
        (0x05, 0x80) if source == 0 && immediate == TAIL_CALL => Step::TailCall,
        (0x05, 0x80) => Step::Helper,
        (0x05, 0x90) => Step::Exit,
        (0x05 | 0x06, _) => Step::Branch(to(offset)),
        _ => Step::Next(at + 1),
    }
}

/// The code has a loop.
#[derive(Debug)]
struct Loop;

/// Fewest and most calls on the paths from a place to an exit; `None`: all go on to another program.
type Bounds = Option<(u32, u32)>;

struct Paths<'a> {
    code: &'a [u64],
    known: BTreeMap<usize, Bounds>,
    open: BTreeSet<usize>,
}

impl Paths<'_> {
    fn from(&mut self, at: usize) -> Result<Bounds, Loop> {
        if let Some(&known) = self.known.get(&at) {
            return Ok(known);
        }
        if !self.open.insert(at) {
            return Err(Loop);
        }
        let bounds = match step(self.code, at) {
            Step::Next(to) | Step::Jump(to) => self.from(to)?,
            Step::Branch(to) => either(self.from(at + 1)?, self.from(to)?),
            Step::Helper => both(Some((1, 1)), self.from(at + 1)?),
            Step::Function(to) => both(both(Some((1, 1)), self.from(to)?), self.from(at + 1)?),
            Step::TailCall => None,
            Step::Exit => Some((0, 0)),
        };
        self.open.remove(&at);
        self.known.insert(at, bounds);
        Ok(bounds)
    }
}

fn either(one: Bounds, other: Bounds) -> Bounds {
    match (one, other) {
        (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
        (one, other) => one.or(other),
    }
}

fn both(one: Bounds, then: Bounds) -> Bounds {
    one.zip(then).map(|((a, b), (c, d))| (a + c, b + d))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: u64 = 0x95;
    const HELPER: u64 = 0x85 | 1 << 32;
    const KERNEL_FUNCTION: u64 = 0x85 | 2 << 12;
    const TAIL_CALL: u64 = 0x85 | 12 << 32;

    /// Jumps so far if r1 is 0.
    fn branch(distance: i16) -> u64 {
        0x0115 | u64::from(distance.cast_unsigned()) << 16
    }

    /// Calls the function so far away.
    fn function(distance: i16) -> u64 {
        0x1085 | u64::from(distance.cast_unsigned()) << 16
    }

    fn calls(helpers: u32, functions: u32, path: Option<(u32, u32)>) -> Calls {
        Calls { helpers, functions, path }
    }

    #[test]
    fn a_path_is_counted_through_branches_and_functions() {
        assert_eq!(Calls::among(&[EXIT]), calls(0, 0, Some((0, 0))));
        assert_eq!(Calls::among(&[branch(1), HELPER, KERNEL_FUNCTION, EXIT]), calls(2, 0, Some((1, 2))));
        // A function with a branch of its own, called twice, then not reached by falling into it.
        let code = [function(2), function(1), EXIT, branch(1), HELPER, EXIT];
        assert_eq!(Calls::among(&code), calls(1, 2, Some((2, 4))));
    }

    #[test]
    fn a_path_to_another_program_does_not_count() {
        assert_eq!(Calls::among(&[HELPER, branch(3), HELPER, TAIL_CALL, EXIT, EXIT]), calls(2, 0, Some((1, 1))));
        assert_eq!(Calls::among(&[TAIL_CALL, EXIT]), calls(0, 0, None));
    }

    #[test]
    fn a_constant_of_two_words_is_not_taken_for_a_call() {
        assert_eq!(Calls::among(&[0x18, HELPER & 0xff_0000_0000, EXIT]).path, Some((0, 0)));
    }

    #[test]
    fn a_loop_has_no_bounds() {
        assert_eq!(Calls::among(&[HELPER, branch(-2), EXIT]), calls(1, 0, None));
    }
}

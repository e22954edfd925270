//! How much stack the programs take, as older kernels count it (tried: Linux 6.1). Newer ones count less (tried: 6.18), and
//! so do not tell what the others refuse.

use std::collections::{BTreeMap, BTreeSet};

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind};

use super::OBJECT;

/// `MAX_BPF_STACK` of the kernel.
const MOST: u32 = 512;

/// A frame counts in whole pieces of this size (`check_max_stack_depth_subprog`).
const PIECE: u32 = 32;

/// Section of a function, and where it begins there.
type Place = (usize, u64);

#[derive(Debug, Default)]
struct Function {
    name: String,
    frame: u32,
    calls: BTreeSet<Place>,
}

/// An instruction, as the kernel's uapi has `struct bpf_insn`.
struct Instruction {
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    const SIZE: usize = 8;
    /// The register that points to the end of the frame.
    const FRAME: u8 = 10;

    fn read(bytes: &[u8]) -> Self {
        let [code, registers, o0, o1, i0, i1, i2, i3] = *bytes else { panic!("not an instruction: {bytes:?}") };
        Self {
            code,
            destination: registers & 15,
            source: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            immediate: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    /// Whether it writes memory: `BPF_ST` and `BPF_STX`.
    fn stores(&self) -> bool {
        matches!(self.code & 7, 2 | 3)
    }

    /// How far below the end of the frame it reads or writes.
    fn below(&self) -> Option<u32> {
        /// `BPF_LDX`.
        const LOAD: u8 = 1;
        let base = match self.code & 7 {
            LOAD => self.source,
            _ if self.stores() => self.destination,
            _ => return None,
        };
        (base == Self::FRAME && self.offset < 0).then(|| u32::from(self.offset.unsigned_abs()))
    }

    /// Whether it copies the pointer to the end of the frame.
    fn copies_frame(&self) -> bool {
        const MOVE: u8 = 0xbf;
        self.code == MOVE && self.source == Self::FRAME
    }

    /// How far below a register points afterwards, if it is a copy of that pointer.
    fn lowers(&self) -> Option<u32> {
        const ADD_IMMEDIATE: u8 = 0x07;
        (self.code == ADD_IMMEDIATE && self.immediate < 0).then(|| self.immediate.unsigned_abs())
    }

    fn is_call_of_function(&self) -> bool {
        const CALL: u8 = 0x85;
        /// `BPF_PSEUDO_CALL`.
        const OF_FUNCTION: u8 = 1;
        self.code == CALL && self.source == OF_FUNCTION
    }
}

fn functions() -> BTreeMap<Place, Function> {
    let file = object::File::parse(OBJECT).expect("the programs are an ELF file");
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    symbols
        .filter_map(|symbol| {
            let place = (symbol.section_index()?.0, symbol.address());
            let function = function(&file, place, symbol.size());
            Some((place, Function { name: symbol.name().unwrap_or_default().to_owned(), ..function }))
        })
        .collect()
}

fn function(file: &object::File<'_>, (index, start): Place, size: u64) -> Function {
    let section = file.section_by_index(SectionIndex(index)).expect("a symbol's section is there");
    let relocations: BTreeMap<u64, RelocationTarget> =
        section.relocations().map(|(at, relocation)| (at, relocation.target())).collect();
    let code = section.data().expect("a section of code has contents");
    let (mut function, mut copies) = (Function::default(), BTreeSet::new());
    for at in (start..start + size).step_by(Instruction::SIZE) {
        let instruction = Instruction::read(&code[at as usize..at as usize + Instruction::SIZE]);
        let register = instruction.destination;
        let lowered = instruction.lowers().filter(|_| copies.contains(&register));
        function.frame = [instruction.below(), lowered].into_iter().flatten().fold(function.frame, u32::max);
        if !instruction.stores() {
            copies.remove(&register);
        }
        if instruction.copies_frame() {
            copies.insert(register);
        }
        if instruction.is_call_of_function() {
            function.calls.insert(called(file, relocations.get(&at), (index, at), &instruction));
        }
    }
    function
}

/// Where a call goes that stands in a place: to a function by its symbol, or so many instructions beyond the next one, or beyond
/// the first of another section.
fn called(file: &object::File<'_>, relocation: Option<&RelocationTarget>, place: Place, call: &Instruction) -> Place {
    let (section, from) = match relocation {
        Some(RelocationTarget::Symbol(symbol)) => {
            let symbol = file.symbol_by_index(*symbol).expect("what is called has a symbol");
            let section = symbol.section_index().expect("what is called is defined").0;
            if symbol.kind() == SymbolKind::Text {
                return (section, symbol.address());
            }
            (section, 0)
        }
        _ => place,
    };
    let beyond = (i64::from(call.immediate) + 1) * Instruction::SIZE as i64;
    (section, from.saturating_add_signed(beyond))
}

/// The deepest chain of calls that begins with a function, with what it takes.
fn deepest(functions: &BTreeMap<Place, Function>, place: Place) -> (u32, Vec<String>) {
    let function = &functions[&place];
    let (below, names) = function.calls.iter().map(|call| deepest(functions, *call)).max().unwrap_or_default();
    let frame = function.frame.max(1).next_multiple_of(PIECE);
    (below + frame, [vec![format!("{}: {frame}", function.name)], names].concat())
}

#[test]
fn no_chain_of_calls_takes_more_stack_than_a_kernel_has() {
    let functions = functions();
    let chains: Vec<_> = functions.keys().map(|place| deepest(&functions, *place)).collect();
    let deepest = chains.iter().max().expect("there are programs");
    assert!(deepest.1.len() > 3 && deepest.0 > MOST / 2, "calls are not understood: {deepest:?}");
    assert!(deepest.0 <= MOST, "{deepest:#?}");
}

//! From policies to the verdicts of the real programs: compiler, plan, tables and programs together, on crafted packets
//! by BPF_PROG_TEST_RUN. Runs as root; each test has a network namespace that ends with its thread.

#[path = "../../source/tests/conformance/cluster.rs"]
#[expect(dead_code, reason = "shared with the tests of the evaluator alone, which ask who decides")]
mod cluster_cases;
#[path = "../../datapath/tests/program/frames.rs"]
#[expect(dead_code, reason = "shared with the tests of the programs alone, which make more kinds of frames")]
mod frames;
#[path = "../../policy/tests/compile/support/generate.rs"]
mod generate;
#[path = "../../policy/tests/compile/support/judge.rs"]
#[expect(dead_code, reason = "shared with the tests of the compiler alone, which look between two operations")]
mod judge;
#[path = "../../policy/tests/compile/support/world.rs"]
#[expect(dead_code, reason = "shared with the tests of the compiler alone, which start over")]
mod world;

mod cases;
mod cluster_conformance;
mod conformance;
mod connections;
mod node;
mod packets;
mod random;
mod session;
mod show;

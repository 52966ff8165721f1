//! The receipt rule as people write it: compiled once here, to say early what is wrong with it.

use std::thread;

use cel::Program;

/// Longer is a mistake, not a rule.
const LONGEST: usize = 1024;
/// The CEL parser recurses deeply: a worker's own stack may be too small for it.
const COMPILER_STACK: usize = 8 << 20;

/// # Errors
/// Why `rule` is not a CEL expression of at most 1 KiB, in English.
pub(super) fn compiles(rule: &str) -> Result<(), String> {
    if rule.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    let compile = || Program::compile(rule).map(drop).map_err(|mistakes| first_line(&mistakes.to_string()));
    thread::scope(|scope| {
        let compiler = thread::Builder::new().stack_size(COMPILER_STACK);
        match compiler.spawn_scoped(scope, compile).map_err(|error| error.to_string())?.join() {
            Ok(compiled) => compiled,
            Err(_panic) => Err("the CEL parser gave up on it".to_owned()),
        }
    })
}

/// The parser draws its complaint over several lines; the first says what is wrong, after the place.
fn first_line(drawn: &str) -> String {
    let line = drawn.lines().next().unwrap_or_default();
    let what = line.split_once(": Syntax error: ").map_or(line, |(_, what)| what);
    what.split_once(" expecting {").map_or(what, |(what, _)| what).to_owned()
}

//! A CEL expression for replies, compiled only if no reply can make it deep or slow.

use std::thread;

use cel::{
    IdedExpr, Program,
    common::ast::{EntryExpr, Expr},
};

const LONGEST_BYTES: usize = 1024;
/// An unoptimized evaluator takes some 40 KiB of stack a level, and a worker's whole stack is 2 MiB.
const DEEPEST: usize = 16;
/// The parser takes over 80 KiB a level and gives up at 96 levels.
const COMPILER_STACK: usize = 32 * 1024 * 1024;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("read the receipt rule: it is longer than {LONGEST_BYTES} bytes")]
    TooLong,
    #[error("read the receipt rule: it is nested more than {DEEPEST} levels deep")]
    TooDeep,
    /// The time it takes would grow with the square of what the receiver sends.
    #[error("read the receipt rule: it has a loop within a loop")]
    LoopInLoop,
    #[error("read the receipt rule: {0}")]
    NotCel(String),
}

pub fn compile(rule: &str) -> Result<Program, RuleError> {
    if rule.len() > LONGEST_BYTES {
        return Err(RuleError::TooLong);
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(COMPILER_STACK);
        let running =
            thread.spawn_scoped(scope, || parse(rule)).map_err(|e| RuleError::NotCel(e.to_string()))?;
        running
            .join()
            .unwrap_or_else(|_panic| Err(RuleError::NotCel("the CEL parser gave up on it".to_owned())))
    })
}

fn parse(rule: &str) -> Result<Program, RuleError> {
    let program = Program::compile(rule).map_err(|mistakes| RuleError::NotCel(mistakes.to_string()))?;
    let extent = extent(program.expression());
    if extent.levels > DEEPEST {
        return Err(RuleError::TooDeep);
    }
    if extent.loops > 1 {
        return Err(RuleError::LoopInLoop);
    }
    Ok(program)
}

/// How many expressions, and how many loops among them, stand within each other.
#[derive(Clone, Copy, Default)]
struct Extent {
    levels: usize,
    loops: usize,
}

impl Extent {
    fn max(self, other: Extent) -> Extent {
        Extent { levels: self.levels.max(other.levels), loops: self.loops.max(other.loops) }
    }
}

fn extent(expression: &IdedExpr) -> Extent {
    let within = match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Extent::default(),
        Expr::Call(call) => widest(call.target.as_deref().into_iter().chain(&call.args)),
        Expr::Select(select) => extent(&select.operand),
        Expr::List(list) => widest(&list.elements),
        Expr::Map(map) => widest(map.entries.iter().flat_map(|entry| parts(&entry.expr))),
        Expr::Struct(made) => widest(made.entries.iter().flat_map(|entry| parts(&entry.expr))),
        Expr::Comprehension(looped) => {
            let each = widest([&looped.loop_cond, &looped.loop_step]);
            let once = widest([&looped.iter_range, &looped.accu_init, &looped.result]);
            Extent { loops: each.loops + 1, ..each }.max(once)
        }
    };
    Extent { levels: within.levels + 1, ..within }
}

fn widest<'a>(expressions: impl IntoIterator<Item = &'a IdedExpr>) -> Extent {
    expressions.into_iter().map(extent).fold(Extent::default(), Extent::max)
}

fn parts(entry: &EntryExpr) -> impl Iterator<Item = &IdedExpr> {
    let (key, value) = match entry {
        EntryExpr::StructField(field) => (None, &field.value),
        EntryExpr::MapEntry(entry) => (Some(&entry.key), &entry.value),
    };
    key.into_iter().chain([value])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_modest_size_is_taken() {
        let facts = [
            "true",
            "ResponseStatusObject.StatusCode == 0",
            "code in [0, 200, 'ok'] && !has(error.text)",
            "ResponseStatusListObject.ResponseStatusObject.all(one, one.StatusCode == 0)",
            "items.filter(i, i.wanted).all(i, i.code == 0)",
            "{'a': code}['a'] == 0",
        ];
        for rule in facts {
            assert!(compile(rule).is_ok(), "{rule}");
        }
    }

    #[test]
    fn no_rule_reaches_the_end_of_a_stack() {
        let n = |text: &str, times| text.repeat(times);
        let facts = [
            ("nothing", String::new(), None),
            ("an assignment", "StatusCode = 0".into(), None),
            ("too long", n(" ", 1024) + "true", Some(RuleError::TooLong)),
            ("open brackets", n("(", 1000), None),
            ("brackets", n("(", 500) + "a" + &n(")", 500), None),
            ("lists", n("[", 90) + "a" + &n("]", 90), Some(RuleError::TooDeep)),
            ("a long sum", "a".to_owned() + &n("+a", 500), Some(RuleError::TooDeep)),
            ("a long path", "a".to_owned() + &n(".a", 500), Some(RuleError::TooDeep)),
            ("indices", "a".to_owned() + &n("[a]", 300), Some(RuleError::TooDeep)),
            ("choices", n("a?a:", 90) + "a", Some(RuleError::TooDeep)),
            ("maps", n("{1:", 40) + "a" + &n("}", 40), Some(RuleError::TooDeep)),
            ("a loop in a loop", "a.all(x, a.all(y, x == y))".into(), Some(RuleError::LoopInLoop)),
        ];
        for (fact, rule, expected) in facts {
            let error = compile(&rule).map(|_| ()).expect_err(fact);
            match expected {
                Some(expected) => assert_eq!(error, expected, "{fact}"),
                None => assert!(matches!(error, RuleError::NotCel(_)), "{fact}: {error}"),
            }
        }
    }

    #[test]
    fn the_deepest_rule_runs_on_a_workers_stack() {
        let deepest = ["a".to_owned() + &"+a".repeat(15), "[".repeat(15) + "a" + &"]".repeat(15)];
        for rule in deepest {
            let program = compile(&rule).unwrap();
            let run = move || {
                let mut variables = cel::Context::default();
                variables.add_variable_from_value("a", cel::to_value([1, 2, 3]).unwrap());
                program.execute(&variables).is_ok()
            };
            assert!(thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap(), "{rule}");
        }
    }
}

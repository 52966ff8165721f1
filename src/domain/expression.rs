//! Conditions that people write (CEL): compiled once, only if no input can make them deep or slow, with names resolved
//! by whoever evaluates. The one place where the CEL parser is called.

mod plain;

use std::{fmt, sync::Arc, sync::LazyLock, thread};

use cel::{
    Context, Env, IdedExpr, Program, Value as CelValue,
    common::{
        ast::{EntryExpr, Expr},
        types::{CelBool, CelDouble, CelString},
        value::CowVal,
    },
    context::VariableResolver,
};

use self::plain::Plain;
use super::Value;

/// Longest condition accepted, in bytes.
pub const MAX_LENGTH: usize = 2000;
/// An unoptimized evaluator takes some 40 KiB of stack a level, and a worker's whole stack is 2 MiB.
const DEEPEST: usize = 24;
/// The parser takes over 80 KiB a level and gives up at 96 levels.
const PARSER_STACK: usize = 32 << 20;

/// The standard operators and functions: a constant, though it cannot be written as one.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

pub struct Expression {
    text: String,
    program: Program,
    names: Vec<String>,
    /// The same without the general evaluator, where it is no more than a rule's usual words.
    plain: Option<Plain>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExpression {
    #[error("it is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("it is nested more than {DEEPEST} levels deep")]
    TooDeep,
    /// The time it takes would grow with the square of what it is given.
    #[error("it has a loop within a loop")]
    LoopInLoop,
    /// At least one.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Syntax(Vec<SyntaxMistake>),
}

/// Lines and columns count from 1 within the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {line}:{column}: {what}")]
pub struct SyntaxMistake {
    pub line: usize,
    pub column: usize,
    pub what: String,
}

/// Why a condition gave no truth value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("condition gave no truth value: {0}")]
pub struct NoTruth(pub String);

impl Expression {
    /// Compiles a condition in the standard environment of CEL.
    ///
    /// # Errors
    /// If it is not CEL, too long, too deep, or could take for ever.
    pub fn compile(text: &str) -> Result<Self, BadExpression> {
        let program = parse(text)?;
        let names: Vec<String> = program.references().variables().into_iter().map(str::to_owned).collect();
        let plain = Plain::of(program.expression(), &names);
        Ok(Self { text: text.to_owned(), program, names, plain })
    }

    /// The names it speaks of.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The parsed program, for those who look into it.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Whether it holds, at a fraction of what [`Expression::truth`] costs and with the same outcome; `value` gives that of a name by its place
    /// in [`Expression::names`]. `None` where only that one can say.
    pub fn plain_truth<'a>(&'a self, value: impl Fn(usize) -> Option<&'a Value>) -> Option<bool> {
        self.plain.as_ref()?.truth(&value)
    }

    /// Evaluates with names resolved by `lookup`.
    ///
    /// # Errors
    /// If a name is unknown, types do not fit, or the result is not true or false.
    pub fn truth(&self, lookup: &dyn VariableResolver) -> Result<bool, NoTruth> {
        let mut context = Context::with_env(Arc::clone(&STANDARD));
        context.set_variable_resolver(lookup);
        match self.program.execute(&context) {
            Ok(CelValue::Bool(truth)) => Ok(truth),
            Ok(other) => Err(NoTruth(format!("it is a {}, not true or false", other.type_of()))),
            Err(error) => Err(NoTruth(error.to_string())),
        }
    }
}

fn parse(text: &str) -> Result<Program, BadExpression> {
    if text.len() > MAX_LENGTH {
        return Err(BadExpression::TooLong);
    }
    let program = thread::scope(|scope| {
        let parser = thread::Builder::new().name("expressions".to_owned()).stack_size(PARSER_STACK);
        let parsing = parser.spawn_scoped(scope, || Program::compile(text).map_err(syntax));
        let parsed = parsing.map_err(|no_thread| gave_up(&no_thread.to_string()))?.join();
        parsed.unwrap_or_else(|_panic| Err(gave_up("the parser gave up on it")))
    })?;
    let extent = extent(program.expression());
    if extent.levels > DEEPEST {
        return Err(BadExpression::TooDeep);
    }
    if extent.loops > 1 {
        return Err(BadExpression::LoopInLoop);
    }
    Ok(program)
}

fn syntax(errors: cel::ParseErrors) -> BadExpression {
    let place = |at: isize| usize::try_from(at).unwrap_or(1).max(1);
    let mistakes = errors.errors.iter().map(|error| SyntaxMistake {
        line: place(error.pos.0),
        column: place(error.pos.1),
        what: plain(&error.msg),
    });
    let mistakes: Vec<_> = mistakes.collect();
    if mistakes.is_empty() { gave_up("this is no expression") } else { BadExpression::Syntax(mistakes) }
}

/// The parser lists everything it would have taken instead: nobody reads that.
fn plain(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    message.split(" expecting {").next().unwrap_or(message).to_owned()
}

fn gave_up(why: &str) -> BadExpression {
    BadExpression::Syntax(vec![SyntaxMistake { line: 1, column: 1, what: why.to_owned() }])
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

/// A reading's value as CEL sees it: numbers are doubles, choices and texts strings.
pub fn cel_value(value: &Value) -> CowVal<'_, '_> {
    match value {
        Value::Number(number) => CowVal::owned(CelDouble::from(*number)),
        Value::Flag(flag) => CowVal::owned(CelBool::from(*flag)),
        Value::Text(text) => CowVal::owned(CelString::from(&**text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Door;
    impl VariableResolver for Door {
        fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
            match name {
                "door" => Some(CowVal::owned(CelString::from("closed"))),
                "speed" => Some(CowVal::owned(CelDouble::from(0.0))),
                _ => None,
            }
        }
    }

    #[test]
    fn conditions_are_true_false_or_say_why_not() {
        let facts: [(&str, Option<bool>); 7] = [
            (r#"door == "closed" && speed == 0.0"#, Some(true)),
            (r#"door == "open""#, Some(false)),
            ("speed > 1.0 || speed < 0.5", Some(true)),
            ("speed == 0", Some(true)),
            ("weight > 1.0", None),
            ("speed", None),
            (r#"door > 1.0"#, None),
        ];
        for (text, expected) in facts {
            let truth = Expression::compile(text).unwrap().truth(&Door);
            assert_eq!(truth.ok(), expected, "{text}");
        }
    }

    #[test]
    fn an_expression_of_modest_size_is_taken() {
        let facts = [
            "true",
            "ResponseStatusObject.StatusCode == 0",
            "code in [0, 200, 'ok'] && !has(error.text)",
            "ResponseStatusListObject.ResponseStatusObject.all(one, one.StatusCode == 0)",
            "items.filter(i, i.wanted).all(i, i.code == 0)",
            "{'a': code}['a'] == 0",
        ];
        for text in facts {
            assert!(Expression::compile(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn no_expression_reaches_the_end_of_a_stack() {
        let n = |text: &str, times| text.repeat(times);
        let facts = [
            ("nothing", String::new(), None),
            ("an assignment", "StatusCode = 0".into(), None),
            ("too long", n(" ", MAX_LENGTH) + "true", Some(BadExpression::TooLong)),
            ("open brackets", n("(", 1000), None),
            ("brackets", n("(", 500) + "a" + &n(")", 500), None),
            ("lists", n("[", 90) + "a" + &n("]", 90), Some(BadExpression::TooDeep)),
            ("a long sum", "a".to_owned() + &n("+a", 900), Some(BadExpression::TooDeep)),
            ("a long path", "a".to_owned() + &n(".a", 900), Some(BadExpression::TooDeep)),
            ("indices", "a".to_owned() + &n("[a]", 600), Some(BadExpression::TooDeep)),
            ("choices", n("a?a:", 90) + "a", Some(BadExpression::TooDeep)),
            ("maps", n("{1:", 40) + "a" + &n("}", 40), Some(BadExpression::TooDeep)),
            ("a loop in a loop", "a.all(x, a.all(y, x == y))".into(), Some(BadExpression::LoopInLoop)),
        ];
        for (fact, text, expected) in facts {
            let error = Expression::compile(&text).map(|_| ()).expect_err(fact);
            match expected {
                Some(expected) => assert_eq!(error, expected, "{fact}"),
                None => assert!(matches!(error, BadExpression::Syntax(_)), "{fact}: {error}"),
            }
        }
    }

    #[test]
    fn the_deepest_expression_runs_on_a_workers_stack() {
        let deepest = [
            "a".to_owned() + &"+a".repeat(DEEPEST - 1),
            "[".repeat(DEEPEST - 1) + "a" + &"]".repeat(DEEPEST - 1),
        ];
        for text in deepest {
            let compiled = Expression::compile(&text).unwrap();
            let run = move || {
                let mut variables = Context::default();
                variables.add_variable_from_value("a", cel::to_value([1, 2, 3]).unwrap());
                compiled.program.execute(&variables).is_ok()
            };
            assert!(thread::Builder::new().stack_size(3 << 19).spawn(run).unwrap().join().unwrap(), "{text}");
        }
    }

    #[test]
    fn it_knows_the_names_it_speaks_of() {
        let mut names = Expression::compile("a && (b > 1.0 || !c)").unwrap().names().to_vec();
        names.sort();
        assert_eq!(names, ["a", "b", "c"]);
    }
}

//! Conditions that people write (CEL), compiled once, with names resolved by whoever evaluates.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    thread,
};

use cel::{
    Context, Env, Program, Value as CelValue,
    common::{
        types::{CelBool, CelDouble, CelString},
        value::CowVal,
    },
    context::VariableResolver,
};

use super::Value;

/// Longest condition accepted, in bytes: the parser's effort grows with nesting.
pub const MAX_LENGTH: usize = 2000;

/// The parser recurses deeply; this stack holds what `MAX_LENGTH` can nest.
const PARSER_STACK: usize = 16 << 20;

/// The standard operators and functions: a constant, though it cannot be written as one.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

pub struct Expression {
    text: String,
    program: Program,
    names: Vec<String>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

/// Why a text is not a condition. `column` counts from 1 within the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExpression {
    #[error("condition is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("condition is not valid at {line}:{column}: {message}")]
    Syntax { line: usize, column: usize, message: String },
}

/// Why a condition gave no truth value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("condition gave no truth value: {0}")]
pub struct NoTruth(pub String);

impl Expression {
    /// Compiles a condition in the standard environment of CEL.
    ///
    /// # Errors
    /// If it is too long or not CEL.
    pub fn compile(text: &str) -> Result<Self, BadExpression> {
        if text.len() > MAX_LENGTH {
            return Err(BadExpression::TooLong);
        }
        let program = thread::scope(|scope| {
            let parser = thread::Builder::new().stack_size(PARSER_STACK);
            let parsed = parser.spawn_scoped(scope, || Program::compile(text).map_err(syntax));
            match parsed.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(program)) => program,
                Ok(Err(_panic)) => Err(unreadable("the parser gave up")),
                Err(_no_thread) => Err(unreadable("no memory to parse it")),
            }
        })?;
        let names = program.references().variables().into_iter().map(str::to_owned).collect();
        Ok(Self { text: text.to_owned(), program, names })
    }

    /// The names it speaks of.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Evaluates with `names` resolved by `lookup`.
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

fn syntax(errors: cel::ParseErrors) -> BadExpression {
    let Some(first) = errors.errors.first() else { return unreadable("not a condition") };
    let place = |at: isize| usize::try_from(at).unwrap_or(1).max(1);
    BadExpression::Syntax { line: place(first.pos.0), column: place(first.pos.1), message: first.msg.clone() }
}

fn unreadable(message: &str) -> BadExpression {
    BadExpression::Syntax { line: 1, column: 1, message: message.to_owned() }
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
    fn hostile_texts_are_refused_and_cost_little() {
        let deep = "(".repeat(1000) + "1" + &")".repeat(900);
        for text in ["", "a &&", "door = 1", deep.as_str(), &"a".repeat(MAX_LENGTH + 1), "'"] {
            assert!(Expression::compile(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_knows_the_names_it_speaks_of() {
        let mut names = Expression::compile("a && (b > 1.0 || !c)").unwrap().names().to_vec();
        names.sort();
        assert_eq!(names, ["a", "b", "c"]);
    }
}

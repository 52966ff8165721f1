//! The conditions that alarms are made of, without the general evaluator: comparisons, sums, and, or, not over numbers, flags and words.
//!
//! It says what CEL says or nothing at all: whatever is not plain (other operators, types that do not fit, a division by zero)
//! is left to CEL, which also has the words for it.

use std::cmp::Ordering;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};

use super::Value;

/// Beyond this a double no longer holds every integer.
const EXACT_MAX: i64 = 1 << 53;

#[derive(Debug)]
pub(super) enum Plain {
    Number(f64),
    /// Written without a point: it compares with numbers, it does not reckon with them.
    Whole(f64),
    Flag(bool),
    Word(String),
    /// A name, by its place in the expression's names.
    Name(usize),
    And(Box<[Plain; 2]>),
    Or(Box<[Plain; 2]>),
    Not(Box<Plain>),
    Compare(Comparison, Box<[Plain; 2]>),
    Reckon(Operation, Box<[Plain; 2]>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// What a part of an expression comes to.
#[derive(Clone, Copy, PartialEq)]
enum Seen<'a> {
    Number(f64),
    Flag(bool),
    Word(&'a str),
}

impl Plain {
    /// The same expression, if it is plain.
    pub fn of(expression: &IdedExpr, names: &[String]) -> Option<Self> {
        match &expression.expr {
            Expr::Ident(name) => names.iter().position(|known| known == name).map(Plain::Name),
            Expr::Literal(literal) => Self::literal(literal),
            Expr::Call(call) if call.target.is_none() => Self::call(call, names),
            Expr::Unspecified
            | Expr::Call(_)
            | Expr::Comprehension(_)
            | Expr::List(_)
            | Expr::Map(_)
            | Expr::Select(_)
            | Expr::Struct(_) => None,
        }
    }

    fn literal(literal: &LiteralValue) -> Option<Self> {
        match literal {
            LiteralValue::Boolean(flag) => Some(Plain::Flag(*flag.inner())),
            LiteralValue::Double(number) => Some(Plain::Number(*number.inner())),
            LiteralValue::Int(whole) => {
                let whole = *whole.inner();
                (-EXACT_MAX..=EXACT_MAX).contains(&whole).then_some(Plain::Whole(whole as f64))
            }
            LiteralValue::String(word) => Some(Plain::Word(word.inner().to_owned())),
            LiteralValue::Bytes(_) | LiteralValue::Null | LiteralValue::UInt(_) => None,
        }
    }

    fn call(call: &CallExpr, names: &[String]) -> Option<Self> {
        let part = |part| Self::of(part, names);
        match call.args.as_slice() {
            [one] if call.func_name == operators::LOGICAL_NOT => Some(Plain::Not(Box::new(part(one)?))),
            [left, right] => {
                let both = Box::new([part(left)?, part(right)?]);
                match call.func_name.as_str() {
                    operators::LOGICAL_AND => Some(Plain::And(both)),
                    operators::LOGICAL_OR => Some(Plain::Or(both)),
                    name => match (comparison(name), operation(name)) {
                        (Some(comparison), _) if !both.iter().all(Plain::is_whole) => {
                            Some(Plain::Compare(comparison, both))
                        }
                        (_, Some(operation)) if !both.iter().any(Plain::is_whole) => {
                            Some(Plain::Reckon(operation, both))
                        }
                        _ => None,
                    },
                }
            }
            _ => None,
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self, Plain::Whole(_))
    }

    /// Whether it holds, with names resolved by `value`; `None` where only CEL can say.
    pub fn truth<'a>(&'a self, value: &impl Fn(usize) -> Option<&'a Value>) -> Option<bool> {
        match self {
            Plain::Flag(flag) => Some(*flag),
            Plain::And(both) => Some(both[0].truth(value)? && both[1].truth(value)?),
            Plain::Or(both) => Some(both[0].truth(value)? || both[1].truth(value)?),
            Plain::Not(one) => Some(!one.truth(value)?),
            Plain::Compare(comparison, both) => match (both[0].number(value), both[1].number(value)) {
                (Some(left), Some(right)) => Some(comparison.is(left.partial_cmp(&right)?)),
                (Some(_) | None, _) => comparison.holds(both[0].seen(value)?, both[1].seen(value)?),
            },
            Plain::Name(name) => match value(*name)? {
                Value::Flag(flag) => Some(*flag),
                Value::Number(_) | Value::Text(_) => None,
            },
            Plain::Number(_) | Plain::Whole(_) | Plain::Word(_) | Plain::Reckon(..) => None,
        }
    }

    /// What it comes to, if that is a number: most conditions compare numbers.
    #[inline]
    fn number<'a>(&'a self, value: &impl Fn(usize) -> Option<&'a Value>) -> Option<f64> {
        match self {
            Plain::Number(number) | Plain::Whole(number) => Some(*number),
            Plain::Name(name) => match value(*name)? {
                Value::Number(number) => Some(*number),
                Value::Flag(_) | Value::Text(_) => None,
            },
            Plain::Reckon(operation, both) => {
                operation.result(both[0].number(value)?, both[1].number(value)?)
            }
            Plain::Flag(_)
            | Plain::Word(_)
            | Plain::And(_)
            | Plain::Or(_)
            | Plain::Not(_)
            | Plain::Compare(..) => None,
        }
    }

    fn seen<'a>(&'a self, value: &impl Fn(usize) -> Option<&'a Value>) -> Option<Seen<'a>> {
        match self {
            Plain::Word(word) => Some(Seen::Word(word)),
            Plain::Name(name) => Some(match value(*name)? {
                Value::Number(number) => Seen::Number(*number),
                Value::Flag(flag) => Seen::Flag(*flag),
                Value::Text(text) => Seen::Word(text),
            }),
            Plain::Number(_) | Plain::Whole(_) | Plain::Reckon(..) => self.number(value).map(Seen::Number),
            Plain::Flag(_) | Plain::And(_) | Plain::Or(_) | Plain::Not(_) | Plain::Compare(..) => {
                self.truth(value).map(Seen::Flag)
            }
        }
    }
}

impl Comparison {
    fn holds(self, left: Seen<'_>, right: Seen<'_>) -> Option<bool> {
        let order = match (left, right) {
            (Seen::Number(left), Seen::Number(right)) => left.partial_cmp(&right)?,
            (Seen::Word(left), Seen::Word(right)) => left.cmp(right),
            (Seen::Flag(left), Seen::Flag(right)) => left.cmp(&right),
            (Seen::Number(_) | Seen::Flag(_) | Seen::Word(_), _) => return None,
        };
        Some(self.is(order))
    }

    fn is(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Operation {
    fn result(self, left: f64, right: f64) -> Option<f64> {
        let result = match self {
            Operation::Add => left + right,
            Operation::Subtract => left - right,
            Operation::Multiply => left * right,
            Operation::Divide => left / right,
        };
        result.is_finite().then_some(result)
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    match name {
        operators::EQUALS => Some(Comparison::Equal),
        operators::NOT_EQUALS => Some(Comparison::NotEqual),
        operators::LESS => Some(Comparison::Less),
        operators::LESS_EQUALS => Some(Comparison::LessOrEqual),
        operators::GREATER => Some(Comparison::Greater),
        operators::GREATER_EQUALS => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}

fn operation(name: &str) -> Option<Operation> {
    match name {
        operators::ADD => Some(Operation::Add),
        operators::SUBSTRACT => Some(Operation::Subtract),
        operators::MULTIPLY => Some(Operation::Multiply),
        operators::DIVIDE => Some(Operation::Divide),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cel::{common::value::CowVal, context::VariableResolver};
    use proptest::prelude::*;

    use super::{
        super::{Expression, cel_value},
        *,
    };

    const NAMES: [&str; 4] = ["level", "speed", "open", "mode"];

    struct Device([Option<Value>; 4]);

    impl VariableResolver for Device {
        fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
            let at = NAMES.iter().position(|known| *known == name)?;
            self.0[at].as_ref().map(cel_value)
        }
    }

    impl Device {
        fn plainly(&self, expression: &Expression) -> Option<bool> {
            let value = |name: usize| {
                let at = NAMES.iter().position(|known| *known == expression.names()[name])?;
                self.0[at].as_ref()
            };
            expression.plain.as_ref()?.truth(&value)
        }
    }

    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            4 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
            1 => prop::sample::select(&["0.0", "1.0", "2.5", "-1.5", "0", "1", "true", "false", "\"open\"", "'x'"][..]).prop_map(str::to_owned),
        ];
        leaf.prop_recursive(4, 24, 2, |inner| {
            let operators = ["&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"];
            prop_oneof![
                6 => (inner.clone(), prop::sample::select(operators.to_vec()), inner.clone())
                    .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
                1 => inner.clone().prop_map(|one| format!("!({one})")),
                1 => (inner.clone(), inner).prop_map(|(one, other)| format!("(({one}) ? ({other}) : false)")),
            ]
        })
    }

    fn value() -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            6 => prop::sample::select(&[0.0, 1.0, 2.5, -1.5, 1e300][..]).prop_map(|n| Some(Value::Number(n))),
            3 => any::<bool>().prop_map(|flag| Some(Value::Flag(flag))),
            2 => prop::sample::select(&["open", "x", ""][..]).prop_map(|word| Some(Value::from(word))),
            1 => Just(None),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_says_what_cel_says_or_nothing(text in expression(), values in prop::array::uniform4(value())) {
            let Ok(expression) = Expression::compile(&text) else { return Ok(()) };
            let device = Device(values);
            if let Some(truth) = device.plainly(&expression) {
                prop_assert_eq!(expression.truth(&device), Ok(truth), "{}", text);
            }
        }
    }

    #[test]
    fn what_rules_are_made_of_is_plain() {
        let device = Device([Some(1.5.into()), Some(0.0.into()), Some(true.into()), Some("auto".into())]);
        for (text, truth) in [
            ("level > 1.0 && !(mode == 'off') || open", Some(true)),
            ("speed == 0 && open", Some(true)),
            ("level > 60.0 || (level * 50.0 < speed && open != true)", Some(false)),
            ("level - speed >= 1.5", Some(true)),
            // left to CEL
            ("level / speed > 1.0", None),
            ("mode > 1.0", None),
            ("level", None),
            ("level * 2 > 1.0", None),
            ("mode.startsWith('a')", None),
            ("level in [1.5]", None),
            ("nothing > 1.0", None),
        ] {
            assert_eq!(device.plainly(&Expression::compile(text).unwrap()), truth, "{text}");
        }
    }
}

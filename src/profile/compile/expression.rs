//! An alarm's condition held against the points of its class: names, kinds and words, before it ever runs.
//!
//! CEL itself would take `speed == "0"` or `door == "cloesd"` and answer false for ever; a rule that can never hold is
//! worse than none, so what CEL leaves open is refused here.

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators as op};

use crate::{
    document::meant,
    domain::{
        Kind, Text,
        expression::{BadExpression, Expression, MAX_LENGTH, SyntaxMistake},
    },
    profile::ClassPoint,
    text,
};

/// What is wrong with a condition, and where in it (bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionMistake {
    pub span: Option<Range<usize>>,
    pub message: Text,
    pub help: Option<Text>,
}

/// Methods and conversions that a condition may use besides the operators.
const FUNCTIONS: [&str; 6] = ["size", "startsWith", "endsWith", "contains", "double", "string"];

/// The names that `source` speaks of, sorted.
///
/// # Errors
/// If it is no condition.
pub fn points_named(source: &str) -> Result<Vec<String>, ExpressionMistake> {
    let expression = Expression::compile(source).map_err(|bad| told(source, bad).swap_remove(0))?;
    let mut names = expression.names().to_vec();
    names.sort();
    Ok(names)
}

/// What is wrong with `source` as a condition over `points`.
pub(super) fn check(source: &str, points: &[ClassPoint]) -> Vec<ExpressionMistake> {
    let expression = match Expression::compile(source) {
        Ok(expression) => expression,
        Err(bad) => return told(source, bad),
    };
    let program = expression.program();
    let mut walk = Walk { points, at: program.source_info(), mistakes: Vec::new() };
    let whole = walk.sort_of(program.expression());
    if !matches!(whole, Sort::Flag | Sort::Unknown) {
        walk.mistakes
            .push(mistake(None, text!("条件的结果必须是真或假", "the condition must be true or false")));
    }
    walk.mistakes
}

/// At least one.
fn told(source: &str, bad: BadExpression) -> Vec<ExpressionMistake> {
    let whole = |message| vec![mistake(None, message)];
    match bad {
        BadExpression::TooLong => whole(text!(
            "表达式太长：最多 {MAX_LENGTH} 字节",
            "the expression is too long: {MAX_LENGTH} bytes at most"
        )),
        BadExpression::TooDeep => whole(text!("表达式嵌套太深", "the expression is nested too deep")),
        BadExpression::LoopInLoop => {
            whole(text!("表达式里循环套循环", "the expression has a loop within a loop"))
        }
        BadExpression::Syntax(mistakes) => {
            let mistakes = mistakes.into_iter().map(|SyntaxMistake { line, column, what }| {
                let message = text!(
                    "表达式第 {line} 行第 {column} 列：{what}",
                    "expression, line {line}, column {column}: {what}"
                );
                mistake(spot(source, line, column), message)
            });
            mistakes.collect()
        }
    }
}

fn mistake(span: Option<Range<usize>>, message: Text) -> ExpressionMistake {
    ExpressionMistake { span, message, help: None }
}

/// One character, at a line and column counted from 1.
fn spot(source: &str, line: usize, column: usize) -> Option<Range<usize>> {
    let line = line.checked_sub(1)?;
    let before: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let at = before + column.checked_sub(1)?;
    let length = source.get(at..)?.chars().next()?.len_utf8();
    Some(at..at + length)
}

/// What a part of a condition is.
#[derive(Clone, Copy, PartialEq)]
enum Sort<'a> {
    /// Doubles and whole numbers compare, but do not reckon with one another.
    Double,
    Whole,
    Flag,
    /// Text; of a choice, with its legal words.
    Text(Option<&'a ClassPoint>),
    Unknown,
}

struct Walk<'a> {
    points: &'a [ClassPoint],
    at: &'a SourceInfo,
    mistakes: Vec<ExpressionMistake>,
}

impl<'a> Walk<'a> {
    fn sort_of(&mut self, part: &'a IdedExpr) -> Sort<'a> {
        match &part.expr {
            Expr::Ident(name) => self.point(part, name),
            Expr::Literal(value) => match value {
                LiteralValue::Boolean(_) => Sort::Flag,
                LiteralValue::Double(_) => Sort::Double,
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Sort::Whole,
                LiteralValue::String(_) => Sort::Text(None),
                LiteralValue::Bytes(_) | LiteralValue::Null => self.refuse(part),
            },
            Expr::Call(call) => self.call(part, call),
            Expr::List(list) => {
                for element in &list.elements {
                    self.sort_of(element);
                }
                Sort::Unknown
            }
            Expr::Unspecified | Expr::Comprehension(_) | Expr::Map(_) | Expr::Select(_) | Expr::Struct(_) => {
                self.refuse(part)
            }
        }
    }

    fn point(&mut self, part: &IdedExpr, name: &str) -> Sort<'a> {
        let Some(point) = self.points.iter().find(|point| point.name.as_str() == name) else {
            let legal: Vec<&str> = self.points.iter().map(|point| point.name.as_str()).collect();
            let told = text!("这个类别没有测点 \"{name}\"", "this class has no point \"{name}\"");
            self.tell(part, told, meant(name, &legal));
            return Sort::Unknown;
        };
        match point.kind {
            Kind::Number => Sort::Double,
            Kind::Flag => Sort::Flag,
            Kind::Choice => Sort::Text(Some(point)),
            Kind::Text => Sort::Text(None),
        }
    }

    fn call(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Sort<'a> {
        let arguments: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let sorts: Vec<Sort> = arguments.iter().map(|argument| self.sort_of(argument)).collect();
        match (call.func_name.as_str(), &sorts[..], &arguments[..]) {
            (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT, ..) => {
                for (sort, argument) in sorts.iter().zip(arguments) {
                    self.must_be_flag(argument, *sort);
                }
                Sort::Flag
            }
            (op::CONDITIONAL, [condition, then, otherwise], [first, ..]) => {
                self.must_be_flag(first, *condition);
                if then == otherwise { *then } else { Sort::Unknown }
            }
            (op::EQUALS | op::NOT_EQUALS, [left, right], [l, r]) => {
                self.comparable(part, *left, *right);
                self.legal_word(*left, r);
                self.legal_word(*right, l);
                Sort::Flag
            }
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [left, right], _) => {
                self.comparable(part, *left, *right);
                Sort::Flag
            }
            (op::IN, [left, _], [_, list]) => {
                if let Expr::List(list) = &list.expr {
                    list.elements.iter().for_each(|element| self.legal_word(*left, element));
                }
                Sort::Flag
            }
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [left, right], _) => {
                self.reckonable(part, *left, *right)
            }
            (op::NEGATE, [of], _) => *of,
            ("startsWith" | "endsWith" | "contains", ..) => Sort::Flag,
            ("size", ..) => Sort::Whole,
            ("double", ..) => Sort::Double,
            ("string", ..) => Sort::Text(None),
            (name, ..) => {
                let told = text!("条件里没有函数 \"{name}\"", "a condition has no function \"{name}\"");
                self.tell(part, told, meant(name, &FUNCTIONS));
                Sort::Unknown
            }
        }
    }

    fn must_be_flag(&mut self, part: &IdedExpr, sort: Sort<'_>) {
        if !matches!(sort, Sort::Flag | Sort::Unknown) {
            self.tell(part, text!("这里必须是真或假", "this must be true or false"), None);
        }
    }

    fn comparable(&mut self, part: &IdedExpr, left: Sort<'_>, right: Sort<'_>) {
        let alike = match (left, right) {
            (Sort::Unknown, _) | (_, Sort::Unknown) => true,
            (Sort::Double | Sort::Whole, Sort::Double | Sort::Whole) => true,
            (Sort::Flag, Sort::Flag) | (Sort::Text(_), Sort::Text(_)) => true,
            (Sort::Double | Sort::Whole | Sort::Flag | Sort::Text(_), _) => false,
        };
        if !alike {
            self.tell(
                part,
                text!("两边种类不同，永远不会相等", "the two sides are of different kinds"),
                None,
            );
        }
    }

    fn reckonable(&mut self, part: &IdedExpr, left: Sort<'a>, right: Sort<'a>) -> Sort<'a> {
        let number = |sort| matches!(sort, Sort::Double | Sort::Whole | Sort::Unknown);
        let alike = left == right || left == Sort::Unknown || right == Sort::Unknown;
        if !(number(left) && number(right) && alike) {
            let told =
                text!("只能用带小数的数计算：写 2.0，不写 2", "reckoning takes decimal numbers: 2.0, not 2");
            self.tell(part, told, None);
        }
        if left == Sort::Unknown { right } else { left }
    }

    /// `word`, where it is written out, must be one of the choice's.
    fn legal_word(&mut self, of: Sort<'_>, word: &IdedExpr) {
        let (Sort::Text(Some(point)), Expr::Literal(LiteralValue::String(written))) = (of, &word.expr) else {
            return;
        };
        let written = written.inner();
        if !point.values.iter().any(|value| &**value == written) {
            let name = &point.name;
            let legal: Vec<&str> = point.values.iter().map(|value| &**value).collect();
            let told = text!("{name} 没有 \"{written}\" 这个值", "{name} is never \"{written}\"");
            self.tell(word, told, meant(written, &legal));
        }
    }

    fn refuse(&mut self, part: &IdedExpr) -> Sort<'a> {
        self.tell(part, text!("条件里不能这样写", "a condition cannot say this"), None);
        Sort::Unknown
    }

    fn tell(&mut self, part: &IdedExpr, message: Text, help: Option<Text>) {
        let span = self.at.offset_for(part.id).map(|(from, last)| from as usize..last as usize + 1);
        self.mistakes.push(ExpressionMistake { span, message, help });
    }
}

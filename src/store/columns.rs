//! How our nouns stand in columns.

use jiff::Timestamp;
use rusqlite::{
    ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, Null, ToSqlOutput, ValueRef},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::{AlarmState, Priority, Suite};

/// A moment as milliseconds since 1970.
pub(super) struct Millis(pub Timestamp);

impl ToSql for Millis {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_millisecond().into())
    }
}

impl FromSql for Millis {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let ms = i64::column_result(value)?;
        Timestamp::from_millisecond(ms).map(Millis).map_err(FromSqlError::other)
    }
}

/// A count that never comes near 2⁶³.
pub(super) struct Count(pub u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        i64::try_from(self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let count = i64::column_result(value)?;
        u64::try_from(count).map(Count).map_err(|_| FromSqlError::OutOfRange(count))
    }
}

/// NULL, or the name of what is newer.
pub(super) struct Alg(pub Suite);

impl ToSql for Alg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Suite::International => Null.into(),
            Suite::Guomi => self.0.word().into(),
        })
    }
}

impl FromSql for Alg {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str_or_null()? {
            None => Ok(Alg(Suite::International)),
            Some(word) => Suite::of_word(word).map(Alg).ok_or(FromSqlError::InvalidType),
        }
    }
}

/// Anything as JSON text.
pub(super) struct Json<T>(pub T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        serde_json::to_string(&self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_slice(value.as_bytes()?).map(Json).map_err(FromSqlError::other)
    }
}

pub(super) fn state_word(state: AlarmState) -> &'static str {
    match state {
        AlarmState::ActiveUnacknowledged => "active_unacknowledged",
        AlarmState::ActiveAcknowledged => "active_acknowledged",
        AlarmState::ReturnedUnacknowledged => "returned_unacknowledged",
        AlarmState::Closed => "closed",
    }
}

/// 0 is the most urgent.
pub(super) struct Rank(pub Priority);

impl ToSql for Rank {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let rank: i64 = match self.0 {
            Priority::Critical => 0,
            Priority::High => 1,
            Priority::Medium => 2,
            Priority::Low => 3,
        };
        Ok(rank.into())
    }
}

impl FromSql for Rank {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match i64::column_result(value)? {
            0 => Ok(Rank(Priority::Critical)),
            1 => Ok(Rank(Priority::High)),
            2 => Ok(Rank(Priority::Medium)),
            3 => Ok(Rank(Priority::Low)),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

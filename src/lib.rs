//! Gatehouse (岗亭): the gateway at the edge of a residential compound.
//!
//! A reading travels from left to right, and nothing knows what stands to its right:
//!
//! ```text
//!  fieldbus ──► profile ──► alarm ──► store ──► uplink            console · cli
//!  asks, hears  decodes     decides   keeps     delivers          windows on the store
//!    └───────────── domain (the nouns; no I/O) under everything ─────────────┘
//! ```
//!
//! [`pipeline`] carries one batch along it; [`app`] is the only place that sees every room.

#![forbid(unsafe_code)]

#[macro_use]
mod crash;

pub mod domain;

pub mod document;

pub mod tls;

pub mod mqtt;

pub mod fieldbus;

pub mod profile;

pub mod alarm;

pub mod store;

pub mod pipeline;

pub mod uplink;

pub mod console;

pub mod config;

pub mod app;

pub mod ops;

pub mod sim;

pub mod cli;

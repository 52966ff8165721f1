//! Letters by HTTP.

pub mod config;

//! What people write, checked as a whole before anything starts.

//! How much trying again an endpoint that is well has to stand: a fifth on top of the first attempts. Pure.

/// Ten retries at most are saved up, and there at the start.
const MOST: u32 = 50;
/// What one retry costs; a first attempt brings in one.
const RETRY: u32 = 5;

/// In fifths of a retry.
#[derive(Debug)]
pub struct Budget(u32);

impl Budget {
    pub fn full() -> Self {
        Self(MOST)
    }

    pub fn first_attempt(&mut self) {
        self.0 = (self.0 + 1).min(MOST);
    }

    /// False if there is not enough left for another retry.
    pub fn spend(&mut self) -> bool {
        let enough = self.0 >= RETRY;
        self.0 -= if enough { RETRY } else { 0 };
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_on_top_of_the_first_attempts() {
        let mut budget = Budget::full();
        let saved = std::iter::from_fn(|| budget.spend().then_some(())).count();
        assert_eq!(saved, 10, "saved up at the start");
        let mut retries = 0;
        for _ in 0..1000 {
            budget.first_attempt();
            retries += u32::from(budget.spend());
        }
        assert_eq!(retries, 200);
    }
}

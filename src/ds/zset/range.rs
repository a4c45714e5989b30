//! Ranges of members, by score and by bytes. Knows not how members are kept.

/// Scores from `min` to `max`, each of them left out if it is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    pub min: f64,
    pub max: f64,
    pub min_open: bool,
    pub max_open: bool,
}

impl ScoreRange {
    /// Whether a score is not below the range.
    #[inline]
    pub fn reached_by(&self, score: f64) -> bool {
        if self.min_open { score > self.min } else { score >= self.min }
    }

    /// Whether a score is not above the range.
    #[inline]
    pub fn not_passed_by(&self, score: f64) -> bool {
        if self.max_open { score < self.max } else { score <= self.max }
    }
}

/// One end of a range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before everything: `-`.
    Lowest,
    /// Behind everything: `+`.
    Highest,
    Closed(&'a [u8]),
    Open(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    pub fn reached_by(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Closed(min) => member >= min,
            LexBound::Open(min) => member > min,
        }
    }

    pub fn not_passed_by(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(max) => member <= max,
            LexBound::Open(max) => member < max,
        }
    }
}

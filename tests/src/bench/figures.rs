//! Figures of one thing measured again and again, and what is told of them.

/// In the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// One more.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle one, or the mean of the middle two. Not a number if there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The first and the third quartile.
    #[must_use]
    pub fn quartiles(&self) -> [f64; 2] {
        [self.quantile(0.25), self.quantile(0.75)]
    }

    /// The value below which this part of them lies (0 to 1), between two of them in proportion. Not a
    /// number if there is none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let place = part * last as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        sorted[below] + (sorted[above] - sorted[below]) * place.fract()
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<T: IntoIterator<Item = f64>>(figures: T) -> Self {
        Self(figures.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    fn figures(figures: impl IntoIterator<Item = f64>) -> Figures {
        figures.into_iter().collect()
    }

    #[test]
    fn medians_are_of_odd_and_even_counts() {
        assert_eq!(figures([3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(figures([4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(figures([7.0]).median(), 7.0);
        assert!(Figures::default().median().is_nan());
    }

    #[test]
    fn quantiles_lie_between_figures() {
        let mut four = figures([40.0, 10.0, 30.0]);
        four.push(20.0);
        assert_eq!(four.quartiles(), [17.5, 32.5]);
        assert_eq!([0.0, 1.0].map(|part| four.quantile(part)), [10.0, 40.0]);
        let hundred = figures((0..=100).rev().map(f64::from));
        assert_eq!([0.5, 0.99].map(|part| hundred.quantile(part)), [50.0, 99.0]);
        assert!(Figures::default().quantile(0.99).is_nan());
    }
}

//! Figures of one thing measured again and again.

/// In the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// One more.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle one. Not a number if there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The first and the third quartile.
    #[must_use]
    pub fn quartiles(&self) -> [f64; 2] {
        [self.quantile(0.25), self.quantile(0.75)]
    }

    /// The value below which this part of them lies (0 to 1), between two of them in proportion.
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

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn quantiles_lie_between_figures() {
        let figures = Figures(vec![40.0, 10.0, 30.0, 20.0]);
        assert_eq!(figures.median(), 25.0);
        assert_eq!(figures.quartiles(), [17.5, 32.5]);
        assert_eq!([0.0, 1.0].map(|part| figures.quantile(part)), [10.0, 40.0]);
        assert_eq!(Figures(vec![7.0]).median(), 7.0);
        assert!(Figures::default().median().is_nan());
    }
}

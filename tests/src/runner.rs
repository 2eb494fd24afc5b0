//! stub
/// stub
pub struct Case {
    pub name: &'static str,
    pub run: fn() -> anyhow::Result<()>,
}
impl Case {
    /// stub
    pub fn new(name: &'static str, run: fn() -> anyhow::Result<()>) -> Self {
        Self { name, run }
    }
}

//! The project's own commands.
#![allow(clippy::print_stdout, clippy::print_stderr)]
mod apt;
mod dataset;
mod debtags;

fn main() -> anyhow::Result<()> {
    let folder = std::path::PathBuf::from("/tmp/debtags");
    let apt = apt::Apt::new(std::path::Path::new("/tmp/da/try"))?;
    apt.update()?;
    let mut packages = debtags::Packages::default();
    let mut descriptions = debtags::Descriptions::default();
    for list in apt.lists()? {
        eprintln!("{list:?}");
        match list {
            apt::List::Packages(_) => list.read(|r| packages.read(r))?,
            apt::List::Translations(_) => list.read(|r| descriptions.read(r))?,
        }
    }
    let documents = packages.into_documents(&descriptions);
    eprintln!("{:?}", dataset::write(&documents, debtags::MIN_PACKAGES, &folder)?);
    Ok(())
}

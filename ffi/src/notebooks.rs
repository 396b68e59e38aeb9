//! Notebooks: the tree that notes are put into.

use crate::engine::LifeOs;
use crate::error::LifeOsError;
use crate::records::Notebook;

#[uniffi::export]
impl LifeOs {
    /// Makes a notebook; returns its id.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn notebook_create(&self, name: String, parent: Option<String>) -> Result<String, LifeOsError> {
        self.local(move |client| client.notebook_create(&name, parent.as_deref())).await
    }

    /// Renames a notebook.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn notebook_rename(&self, id: String, name: String) -> Result<(), LifeOsError> {
        self.local(move |client| client.notebook_rename(&id, &name)).await
    }

    /// Moves a notebook behind `after` among its new siblings (`None`: to the front).
    ///
    /// # Errors
    /// [`LifeOsError::Invalid`] when it would end up inside itself.
    pub async fn notebook_move(
        &self,
        id: String,
        parent: Option<String>,
        after: Option<String>,
    ) -> Result<(), LifeOsError> {
        self.local(move |client| client.notebook_move(&id, parent.as_deref(), after.as_deref())).await
    }

    /// Removes a notebook; what is inside moves up.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn notebook_delete(&self, id: String) -> Result<(), LifeOsError> {
        self.local(move |client| client.notebook_delete(&id)).await
    }

    /// The tree, depth first.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn notebooks(&self) -> Result<Vec<Notebook>, LifeOsError> {
        self.local(|client| Ok(client.notebooks()?.into_iter().map(Into::into).collect())).await
    }
}

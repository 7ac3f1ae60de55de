//! Tools from OpenAPI specifications: the reader. Given the bytes of a document and where it comes from, it gives every operation
//! as a tool that a model can be offered, and makes an HTTP request of arguments. It asks no network and knows no secret.
//!
//! It is lenient: what can be used is used, and for the rest there is a warning with its place. Swagger 2.0 is rewritten to the
//! words of version 3; 3.2 is read as 3.1. `OpenApiDocument::read` lists the operations; what costs time (schemas) is done for
//! one operation at a time, and a schema is compiled when its first arguments are checked.

mod arguments;
mod body;
mod declaration;
mod documents;
mod names;
mod operations;
mod parameters;
mod path;
mod request;
mod schema;
mod security;
mod selection;
mod servers;
mod source;
mod style;
mod swagger;
mod text;
mod tool;
mod warning;

use parking_lot::Mutex;
use serde_json::Value;

pub use body::RequestBody;
pub use declaration::OpenApiDeclaration;
pub use operations::{OperationEntry, SkippedOperation};
pub use request::{OpenApiRequest, RequestError};
pub use security::{
    CredentialPlace, OAuthFlow, OAuthFlowKind, RequiredScheme, SecurityAlternative, SecuritySchemeKind,
};
pub use selection::ToolSelection;
pub use servers::ServerChoice;
pub use source::{DocumentLoader, DocumentSource, files_below, read_file};
pub use style::UNRESERVED;
pub use text::LARGEST_DOCUMENT;
pub use tool::OpenApiTool;
pub use warning::OpenApiWarning;

use crate::bounds::ExceededBound;
use documents::DocumentSet;
use schema::{SchemaCaches, SchemaDialect};
use warning::{JsonPointer, WarningList};

/// Why nothing can be read of a document.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has too many bytes.
    #[error("the document is larger than {} MiB, and is not read", most >> 20)]
    TooLarge {
        /// How many bytes are read.
        most: usize,
    },
    /// It has too many levels, elements, or a text that is too long.
    #[error("the document is not read: {0}")]
    Exceeded(#[source] ExceededBound),
    /// Nothing is in it.
    #[error("the document is empty")]
    Empty,
    /// It is no document.
    #[error("the document is neither JSON nor YAML: {0}")]
    Syntax(String),
    /// It is another kind of document.
    #[error("the document is no OpenAPI specification: {0}")]
    NotOpenApi(String),
    /// It is one of a version that is not read.
    #[error("the document is of OpenAPI {0}; 2.0 (Swagger), 3.0, 3.1 and 3.2 are read")]
    Version(String),
}

/// A specification.
#[derive(Debug)]
pub struct OpenApiDocument {
    documents: DocumentSet,
    dialect: SchemaDialect,
    version: String,
    operations: Vec<OperationEntry>,
    skipped: Vec<SkippedOperation>,
    warnings: Vec<OpenApiWarning>,
    caches: Mutex<SchemaCaches>,
}

/// The operations of a specification that are selected.
#[derive(Debug, Default)]
pub struct OpenApiTools {
    /// Those that are tools.
    pub tools: Vec<OpenApiTool>,
    /// Those that are none.
    pub skipped: Vec<SkippedOperation>,
}

impl OpenApiDocument {
    /// Reads a document; `load` gives the others that its references lead to, and is called only for those that are allowed.
    pub fn read(bytes: &[u8], source: &DocumentSource, load: &DocumentLoader<'_>) -> Result<Self, Error> {
        let root = text::parse(bytes)?;
        let mut warnings = WarningList::default();
        let version = version(&root, &mut warnings)?;
        let mut documents = DocumentSet::load(root, source, load);
        let dialect = match version.as_str() {
            "3.1" | "3.2" => SchemaDialect::New,
            _ => SchemaDialect::Old,
        };
        if version == "2.0" {
            swagger::rewrite(&mut documents);
        }
        let (operations, skipped) = operations::operations(&documents);
        let warnings = warnings.finish(&JsonPointer::root("#"));
        let caches = Mutex::default();
        Ok(Self { documents, dialect, version, operations, skipped, warnings, caches })
    }

    /// The version of OpenAPI that the document is read as: `2.0`, `3.0`, `3.1` or `3.2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The title of the document.
    pub fn title(&self) -> &str {
        let title = self.documents.root().value.get("info").and_then(|info| info.get("title"));
        title.and_then(Value::as_str).unwrap_or_default()
    }

    /// The names of the ways to be allowed to call its operations.
    pub fn security_schemes(&self) -> Vec<&str> {
        let schemes = self.documents.root().value.get("components").and_then(|parts| parts.get("securitySchemes"));
        schemes.and_then(Value::as_object).into_iter().flat_map(|schemes| schemes.keys().map(String::as_str)).collect()
    }

    /// What is so of the document as a whole.
    pub fn warnings(&self) -> &[OpenApiWarning] {
        &self.warnings
    }

    /// All operations, with the names of their tools. Some of them may turn out not to be usable.
    pub fn operations(&self) -> &[OperationEntry] {
        &self.operations
    }

    /// The operations that cannot be tools, whatever else is in them.
    pub fn skipped(&self) -> &[SkippedOperation] {
        &self.skipped
    }

    /// Of the operations that cannot be tools, those that are selected: they have no name, only a method and a path.
    pub fn skipped_of<'s>(&'s self, selection: &'s ToolSelection) -> impl Iterator<Item = &'s SkippedOperation> {
        self.skipped.iter().filter(|skipped| selection.selects_skipped(skipped))
    }

    /// The tool of an operation.
    pub fn tool(&self, entry: &OperationEntry) -> Result<OpenApiTool, SkippedOperation> {
        tool::read(&self.documents, self.dialect, entry, &mut self.caches.lock())
            .map_err(|reason| SkippedOperation { operation: entry.operation(), reason })
    }

    /// The tools of the operations that are selected.
    pub fn tools(&self, selection: &ToolSelection) -> OpenApiTools {
        let mut found = OpenApiTools { tools: Vec::new(), skipped: self.skipped_of(selection).cloned().collect() };
        for entry in self.selected(selection) {
            match self.tool(entry) {
                Ok(tool) => found.tools.push(tool),
                Err(skipped) => found.skipped.push(skipped),
            }
        }
        found
    }

    /// The operations that are selected.
    pub fn selected<'s>(&'s self, selection: &'s ToolSelection) -> impl Iterator<Item = &'s OperationEntry> {
        self.operations.iter().filter(|entry| selection.selects(entry))
    }
}

/// The version, without its last number.
fn version(root: &Value, warnings: &mut WarningList) -> Result<String, Error> {
    let Some(map) = root.as_object() else {
        return Err(Error::NotOpenApi("it is not an object".to_owned()));
    };
    let text = |key: &str| match map.get(key) {
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let Some(version) = text("openapi").or_else(|| text("swagger")) else {
        if map.get("paths").is_some_and(Value::is_object) {
            warnings.add(&JsonPointer::root("#"), "the document does not say its version; it is read as 3.0");
            return Ok("3.0".to_owned());
        }
        return Err(Error::NotOpenApi("it has neither `openapi` nor `swagger`".to_owned()));
    };
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or("0"));
    let short = format!("{major}.{minor}");
    match short.as_str() {
        "2.0" | "3.0" | "3.1" => Ok(short),
        "3.2" => {
            warnings.add(&JsonPointer::root("#/openapi"), "OpenAPI 3.2 is read as 3.1; what is new in it is skipped");
            Ok(short)
        }
        _ => Err(Error::Version(version)),
    }
}

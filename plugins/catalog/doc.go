// Package catalog makes plugins into packages that can be handed on, and reads them back without trusting anybody on the way.
//
// A package is an OCI artifact (image-spec 1.1): a small JSON manifest that names, by digest and size, one layer each for the
// plugin's summary, its code, its README, its tests and its licence. The digest of the manifest is the package's: who has it, has
// named every byte. Layers of several files are tar archives without compression, since what a compressor writes changes with its
// version; their entries are sorted, belong to nobody, and date from 1970.
//
// So a package is a function of the plugin's files: Pack makes the same bytes of the same files, anywhere. That is also how it is
// read. Layers are fetched within bounds and checked against their digests, the archives are read with one message for each thing
// that has no business there, and what was found is packed again: if the digest is not the same, it was not a package. Nothing
// that this program would not have written gets any further, whatever a reader of archives might make of it.
//
// A package lies in one of three places, with the same digests in each: a registry, a folder (an OCI image layout), or one file,
// which is such a layout in a tar archive. A folder may be one that a web server hands out as it is, to be read. Folders and files are read and written here, and not by oras-go: what it writes is not
// synced, it changes index.json in place, and it reads layouts without bounds. What speaks to registries is oras-go's.
//
// Plugins do not depend on plugins. Of a plugin's versions, Newest chooses the one for a server.
package catalog

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// madeKey is what keygen says in JSON.
type madeKey struct {
	Key    string `json:"key"` // public
	ID     string `json:"id"`
	Secret string `json:"secret_file"`
	Public string `json:"public_file"`
	Trust  string `json:"trust"` // lines of trust.toml
}

func (a *app) catalogKeygenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keygen [FILE]", Short: "Make the key that signs a catalog, and print what its users trust it by", Args: cobra.MaximumNArgs(1),
		Long: "keygen writes a new secret key into FILE (default catalog.key), encrypted with a passphrase and readable by its owner only, and the\n" +
			"public key beside it, into a file that ends in .pub. It prints the public key and the lines of trust.toml to hand out. Both files are as\n" +
			"minisign writes them, and a key of minisign will do as well. A file that is there already stays.\n\n" + aboutPassphrase + "\n\n" +
			"Whoever has the key and its passphrase can give code to all who trust it. Keep them apart, and a copy of both where only you come to:\n" +
			"without them nothing can be published any more, and every user has to be given another key.",
		Example: "  stagepost catalog keygen --place https://plugins.example.org/index.json catalog.key"}
	name := cmd.Flags().String("name", "main", "in the lines of trust.toml: what users call the index")
	place := cmd.Flags().String("place", "https://plugins.example.org/index.json", "there: where the index will lie")
	namespaces := cmd.Flags().StringArray("namespace", []string{"*"}, "there: ids of plugins that are taken from it; * at the end stands for any text; may be repeated")
	passphraseFile := passphraseFlag(cmd)
	asJSON := jsonFlag(cmd, "one JSON object: the public key, the files, the lines of trust.toml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file := "catalog.key"
		if len(args) > 0 {
			file = args[0]
		}
		public := strings.TrimSuffix(file, ".key") + ".pub"
		for _, f := range []string{file, public} { // before somebody types a passphrase
			if _, err := os.Lstat(f); err == nil {
				return fail(exitCantCreate, "%s is there already and stays; name another file for the new key", f)
			}
		}
		key, err := index.Generate()
		if err != nil {
			return fail(exitSoftware, "no key can be made: %w", err)
		}
		lines := trustLines(*name, *place, *namespaces, []string{key.Key().String()})
		if _, err := trust.Parse("trust.toml", []byte(lines)); err != nil {
			return fail(exitUsage, "the lines for trust.toml would be wrong: %w", err)
		}
		passphrase, err := askPassphrase(cmd, *passphraseFile, file, true)
		if err != nil {
			return err
		}
		if passphrase == "" {
			return fail(exitData, "the passphrase is empty; nothing is written")
		}
		text, err := key.Text(passphrase)
		if err != nil {
			return fail(exitSoftware, "the key cannot be encrypted: %w", err)
		}
		if err := writeOnce(file, text, 0o600); err != nil {
			return err
		}
		comment := fmt.Sprintf("untrusted comment: minisign public key %s\n", key.Key().ID())
		if err := writeOnce(public, []byte(comment+key.Key().String()+"\n"), 0o644); err != nil {
			os.Remove(file) // nobody has seen it
			return err
		}
		out := outputOf(cmd)
		if *asJSON {
			return out.json(madeKey{key.Key().String(), key.Key().ID(), file, public, lines})
		}
		out.printf("the secret key is in %s, and the public key in %s:\n\n%s\n\nWho is to use the catalog writes into trust.toml, beside stagepost.toml:\n\n%s", printable(file), printable(public), key.Key(), lines)
		return nil
	}
	return cmd
}

// trustLines are the lines of trust.toml that name an index.
func trustLines(name, place string, namespaces, keys []string) string {
	return fmt.Sprintf("[[index]]\nname = %s\nplace = %s\nnamespaces = %s\nkeys = %s\n", config.Quote(name), config.Quote(place), quoted(namespaces), quoted(keys))
}

// writeOnce writes a new file, whole or not at all, and never over one that is there.
func writeOnce(file string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fail(exitCantCreate, "%s is there already and stays", file)
	}
	if err != nil {
		return fail(codeOf(err, exitCantCreate), "the key cannot be written: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = syncFolder(filepath.Dir(file))
	}
	if err != nil {
		os.Remove(file)
		return fail(exitIO, "the key cannot be written: %w", err)
	}
	return nil
}

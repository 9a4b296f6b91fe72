package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

func (a *app) dkimCommand() *cobra.Command {
	return parent("dkim", "Make the keys that sign mail", a.dkimKeygenCommand())
}

func (a *app) dkimKeygenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keygen DOMAIN SELECTOR", Short: "Make a key that signs the mail of a domain, and print the record to publish", Args: cobra.ExactArgs(2),
		Long: "keygen writes a private key where the plugin dkim-sign looks for it, as the secret dkim/DOMAIN/SELECTOR in the folder of [secrets]\n" +
			"or the one that --folder names, readable by its owner only, and prints the record for the DNS as a line of a zone file. A key that is\n" +
			"there already stays: a selector is for one key, and a new key gets a new one. Sign with it when the record can be seen everywhere."}
	kind := cmd.Flags().String("type", "rsa", "rsa, which everybody verifies, or ed25519, which is short and fast")
	bits := cmd.Flags().Int("bits", 2048, "the size of an RSA key, 1024 to 4096")
	folder := cmd.Flags().String("folder", "", "the folder of secrets (default: the one of the configuration)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		domain, selector, err := dkim.CheckNames(strings.TrimSuffix(args[0], "."), args[1])
		if err != nil {
			return fail(exitUsage, "%w", err)
		}
		name := path.Join("dkim", domain, selector)
		if !capability.ValidSecret(name) {
			return fail(exitUsage, "%q cannot name a secret", name)
		}
		if *kind == "ed25519" && cmd.Flags().Changed("bits") {
			return fail(exitUsage, "--bits is for RSA keys; those of Ed25519 have one size")
		}
		where, err := a.secretFolder(*folder)
		if err != nil {
			return err
		}
		key, err := dkim.NewPrivateKey(*kind, *bits)
		if err != nil {
			return fail(exitUsage, "%w", err)
		}
		text, err := key.PEM()
		if err != nil {
			return err
		}
		record, err := key.Record()
		if err != nil {
			return err
		}
		if err := writeSecret(where, name, text); err != nil {
			return err
		}
		out := outputOf(cmd)
		out.printf("; the key is in %s\n", printable(filepath.Join(where, filepath.FromSlash(name))))
		out.printf("%s. IN TXT ( %s )\n", dkim.KeyName(domain, selector), quotedStrings(record))
		return nil
	}
	return cmd
}

// secretFolder finds the folder of secrets.
func (a *app) secretFolder(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	c, err := a.configuration()
	if err != nil {
		if a.config == "" && !configured() {
			return "", fail(exitConfig, "%w\nor name the folder of secrets itself with --folder", err)
		}
		return "", err
	}
	if folder := cmp.Or(c.Secrets.Folder, os.Getenv("CREDENTIALS_DIRECTORY")); folder != "" {
		return folder, nil
	}
	return "", fail(exitConfig, "%s does not say where secrets are; name the folder with --folder, or write:\n\n[secrets]\nfolder = \"secrets\"", c.File)
}

// writeSecret writes a new secret, never over one that is there. What is made belongs to whom the folder belongs to, who is the server's user,
// and is closed to all others.
func writeSecret(folder, name string, text []byte) (err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fail(codeOf(err, exitCantCreate), "the folder of secrets cannot be made: %w", err)
	}
	root, err := os.OpenRoot(folder) // so that no link leads out of it
	if err != nil {
		return fail(codeOf(err, exitCantCreate), "the folder of secrets cannot be used: %w", err)
	}
	defer root.Close()
	owner, err := root.Stat(".")
	if err != nil {
		return fail(exitIO, "the folder of secrets cannot be used: %w", err)
	}
	for dir := range parents(name) {
		if err := root.Mkdir(filepath.FromSlash(dir), 0o700); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return fail(codeOf(err, exitCantCreate), "the key cannot be written: %w", err)
		}
		made, err := root.Open(filepath.FromSlash(dir))
		if err == nil {
			err = errors.Join(keepOwner(made, owner), made.Close())
		}
		if err != nil {
			return fail(exitCantCreate, "the key cannot be written: %w", err)
		}
	}
	file, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fail(exitCantCreate, "%s is there already and stays; give a new key a new selector", filepath.Join(folder, filepath.FromSlash(name)))
	} else if err != nil {
		return fail(codeOf(err, exitCantCreate), "the key cannot be written: %w", err)
	}
	_, err = file.Write(text)
	err = errors.Join(err, keepOwner(file, owner), file.Sync(), file.Close())
	if err != nil {
		root.Remove(filepath.FromSlash(name)) // half a key helps nobody
		return fail(exitIO, "the key cannot be written: %w", err)
	}
	return nil
}

// parents are the folders of a path, from the outermost.
func parents(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range len(name) {
			if name[i] == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}

// quotedStrings writes a text as the strings of a TXT record, of 255 octets at most each (RFC 1035 section 3.3).
func quotedStrings(text string) string {
	var parts []string
	for len(text) > 255 {
		parts, text = append(parts, `"`+text[:255]+`"`), text[255:]
	}
	return strings.Join(append(parts, `"`+text+`"`), " ")
}

package main

import (
	"time"

	"github.com/spf13/cobra"
)

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the running server read its configuration and plugins now",
		Long: "reload does what a change in the plugin folder does by itself: everything is read, and if it changed and is right, it\n" +
			"becomes the new generation. If not, the old one stays, and each mistake is a line; the exit code is 78 then.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.Reload(cmd.Context())
			if err != nil {
				return err
			}
			out := outputOf(cmd)
			if !r.Changed {
				out.printf("nothing changed; generation %d is in force\n", r.Generation)
				return nil
			}
			out.printf("generation %d is live (%s)\n", r.Generation, (time.Duration(r.Micros) * time.Microsecond).Round(time.Millisecond))
			return nil
		},
	}
}

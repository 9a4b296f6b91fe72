package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
)

// hand is one command that changes messages in the queue by hand.
type hand func(ctx context.Context, c *admin.Client, id string) (admin.Changed, error)

func (a *app) queueHoldCommand() *cobra.Command {
	var reason string
	cmd := a.handCommand("hold", "Stop all attempts to deliver messages, until they are released",
		"hold stops all attempts to deliver a message until it is released, also over restarts. An attempt that is under way ends as\n"+
			"it would. Mail that is held does not expire.",
		func(ctx context.Context, c *admin.Client, id string) (admin.Changed, error) {
			return c.Hold(ctx, id, reason)
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at the queue (default \"by hand\")")
	return cmd
}

func (a *app) queueReleaseCommand() *cobra.Command {
	return a.handCommand("release", "Let messages go on that are held",
		"release lets a message go on that was held by hand or by a plugin, all of it or some of its recipients. They are tried at once.",
		func(ctx context.Context, c *admin.Client, id string) (admin.Changed, error) {
			return c.Release(ctx, id)
		})
}

func (a *app) queueRetryCommand() *cobra.Command {
	return a.handCommand("retry", "Try messages now that wait for their next attempt",
		"retry makes the recipients of a message that wait for their next attempt due at once. Those that failed for good stay so.",
		func(ctx context.Context, c *admin.Client, id string) (admin.Changed, error) { return c.Retry(ctx, id) })
}

func (a *app) queueDeleteCommand() *cobra.Command {
	return a.handCommand("delete", "Take messages out of the queue; nobody is told",
		"delete takes a message out of the queue for ever. Its sender is not told. Its record stays.",
		func(ctx context.Context, c *admin.Client, id string) (admin.Changed, error) { return c.Delete(ctx, id) })
}

func (a *app) handCommand(name, short, long string, do hand) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " ID...",
		Short: short,
		Long:  long + "\n\nThe ID - stands for those that standard input has, separated by white space. What cannot be done for one message is said,\nand the others are gone on with; the exit code is that of the first that failed, 66 when it is not in the queue.",
		Args:  cobra.MinimumNArgs(1),
	}
	asJSON := jsonFlag(cmd, "JSON Lines: one object a message, with its result or error")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		out, ctx := outputOf(cmd), cmd.Context()
		alone := len(args) == 1 && args[0] != "-"
		var first error
		all, failed := 0, 0
		for id, err := range ids(args, cmd.InOrStdin()) {
			if err != nil {
				return err
			}
			all++
			changed, err := do(ctx, c, id)
			var answer *admin.Error
			if err != nil {
				if !errors.As(err, &answer) { // it will be so for the others
					return err
				}
				if failed++; first == nil {
					first = err
				}
			}
			switch {
			case *asJSON && err != nil:
				err = out.json(failedHand{id, answer.Text, answer.Hint})
			case *asJSON:
				err = out.json(changed)
			case err == nil:
				out.printf("%s %s\n", printable(changed.ID), printable(changed.Result))
			case !alone:
				cmd.PrintErrln(printable(err.Error()))
				err = nil
			}
			if err != nil {
				return err
			}
		}
		if failed == 0 || alone {
			return first
		}
		return fail(a.exitCode(first), "queue %s failed for %d of %s", name, failed, count(all, "message"))
	}
	return cmd
}

// failedHand is what JSON output says of a message that was not changed.
type failedHand struct {
	ID    string `json:"id"`
	Error string `json:"error"`
	Hint  string `json:"hint"`
}

// ids gives the arguments; for - the words of in, as they come.
func ids(args []string, in io.Reader) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, arg := range args {
			if arg != "-" {
				if !yield(arg, nil) {
					return
				}
				continue
			}
			words := bufio.NewScanner(in)
			words.Split(bufio.ScanWords)
			for words.Scan() {
				if !yield(words.Text(), nil) {
					return
				}
			}
			if err := words.Err(); err != nil {
				yield("", fail(exitIO, "standard input cannot be read: %w", err))
				return
			}
		}
	}
}

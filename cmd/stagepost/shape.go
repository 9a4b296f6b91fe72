package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/queue"
)

func (a *app) queueShapeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shape",
		Short: "Count the queue by domain and age",
		Long: "shape shows how much there is in the queue, in all and by age in minutes, for each domain, next hop, site, sender's domain or tenant, the\n" +
			"largest first. By domain, next hop and site it counts recipients, by sender and tenant messages. A next hop of - is not known yet.\n" +
			"Flags choose what is counted, as in queue list.",
		Args: cobra.NoArgs,
	}
	query := selectorFlags(cmd, queue.ByReason)
	by := cmd.Flags().String("by", admin.ShapeDomain, strings.Join(admin.Shapes(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("by", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return admin.Shapes(), cobra.ShellCompDirectiveNoFileComp
	})
	asJSON := jsonFlag(cmd, "JSON Lines: one object a name, the first for all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		if !slices.Contains(admin.Shapes(), *by) {
			return fail(exitUsage, "--by: %q is none of %s", *by, strings.Join(admin.Shapes(), ", "))
		}
		q.Set("by", *by)
		c, err := a.client()
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		titles := []string{strings.ToUpper(strings.ReplaceAll(*by, "-", " ")), "TOTAL"}
		for _, most := range admin.ShapeAges() {
			titles = append(titles, strconv.Itoa(most))
		}
		titles = append(titles, titles[len(titles)-1]+"+")
		var t *table
		for s, err := range c.Shape(cmd.Context(), q) {
			if err != nil {
				return err
			}
			if *asJSON {
				if err := out.json(s); err != nil {
					return err
				}
				continue
			}
			first := t == nil
			if first {
				t = newTable(out, titles...)
				s.Name = "all"
			}
			row := []cell{text(s.Name), text(fmt.Sprint(s.Total))}
			for _, n := range s.Ages {
				row = append(row, text(fmt.Sprint(n)))
			}
			if first {
				for i := range row {
					row[i].paint = bold
				}
			}
			t.add(row...)
		}
		if t != nil {
			t.flush()
		}
		return nil
	}
	return cmd
}

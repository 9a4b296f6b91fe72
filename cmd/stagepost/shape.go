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
			"Flags choose what is counted, as in queue list. With --measures it lists what plugins slow down, suspend or send by another way\n" +
			"because of what remotes say, by which rule and until when.",
		Args: cobra.NoArgs,
	}
	query := selectorFlags(cmd, queue.ByReason)
	by := cmd.Flags().String("by", admin.ShapeDomain, strings.Join(admin.Shapes(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("by", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return admin.Shapes(), cobra.ShellCompDirectiveNoFileComp
	})
	measures := cmd.Flags().Bool("measures", false, "list what plugins do about sites, next hops and tenants for a time, instead")
	asJSON := jsonFlag(cmd, "JSON Lines: one object a name, the first for all; with --measures one array")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		if !slices.Contains(admin.Shapes(), *by) {
			return fail(exitUsage, "--by: %q is none of %s", *by, strings.Join(admin.Shapes(), ", "))
		}
		if *measures && (len(q) > 0 || cmd.Flags().Changed("by")) {
			return fail(exitUsage, "--measures stands alone")
		}
		q.Set("by", *by)
		c, err := a.client()
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		if *measures {
			list, err := c.Measures(cmd.Context())
			if err != nil {
				return err
			}
			if *asJSON {
				return out.json(list)
			}
			a.showMeasures(out, list)
			return nil
		}
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

func (a *app) showMeasures(out output, list []queue.Measure) {
	if len(list) == 0 {
		out.printf("no measures are in force\n")
		return
	}
	t := newTable(out, "WHOSE MAIL", "IS", "UNTIL", "BY")
	for i := range list {
		m := &list[i]
		t.add(text(m.Scope.String()), text(m.Effect), text(moment(m.Until, a.now())), text(saidBy(m.By, m.Rule, m.Reason)))
	}
	t.flush()
}

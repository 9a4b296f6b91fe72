package resolve

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const resolvConf = "/etc/resolv.conf"

// systemServers reads the name servers of a resolv.conf file; the other settings in it are for short names, which mail has not. A
// file without any means the resolver of this host, as it does to the C library.
func systemServers(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the system's DNS servers are not known (%w); set [resolver] servers", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("the system's DNS servers are not known (%w); set [resolver] servers", err)
	}
	var servers []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(servers) == maxServers {
			continue
		}
		if _, err := parseServer(fields[1]); err == nil {
			servers = append(servers, fields[1])
		}
	}
	if len(servers) == 0 {
		servers = []string{"127.0.0.1"}
	}
	return servers, nil
}

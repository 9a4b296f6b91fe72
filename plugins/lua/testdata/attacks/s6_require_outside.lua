-- want: a module is named like
require "../../etc/passwd"

plugin { id = "vip",
config = { x = { type = "list",
default = {{{{{{{{{{{{{{{{{{{{}}}}}}}}}}}}}}}}}}}} } } }

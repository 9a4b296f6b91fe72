plugin { "vip", "1.0.0" }

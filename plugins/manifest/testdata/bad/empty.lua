plugin {}

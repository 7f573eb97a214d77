internal import CPocketSphinx
func probe() -> Bool { ps_args() == nil }

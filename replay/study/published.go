package study

// Programs are the columns of Table 4.
var Programs = []string{"Espresso", "GCC", "Ghostscript", "Grobner", "Hyper", "Perl", "P2C", "LRUsim"}

// Table4 is Table 4 of the paper, "actual fragmentation", measure 4 in percent:
// a row a policy, in the order of Policies, a column a program.
var Table4 = [][]float64{
	{.26, .33, 3.00, 1.34, .01, .58, 1.02, .08},
	{.26, .33, 3.40, 2.03, .16, 9.98, 1.78, .26},
	{.26, .50, 3.40, 2.03, .16, 9.98, 1.78, .26},
	{.26, .33, 3.04, 2.03, .16, 9.98, 1.78, .26},
	{.26, .35, 2.77, 1.00, .01, .58, 1.15, .08},
	{.26, .50, 3.40, 2.03, .16, 9.98, 1.78, .26},
	{9.37, 23.7, 179, 62.7, .16, 9.98, 4.83, .26},
	{.26, .50, 7.36, 4.79, .16, 9.98, 1.78, .26},
	{1.77, .67, 16.7, 26.9, .16, 9.98, 7.89, .26},
	{9.37, 21.0, 200, 51.7, .16, 9.98, 15.0, .26},
	{.26, .85, 54.6, 71.0, .16, 9.98, 9.92, .26},
	{.26, .33, 3.40, 2.03, .16, 9.98, 1.78, .26},
	{45.8, 34.1, 38.4, 36.9, 99.9, 39.0, 55.0, 77.7},
	{68.6, 31.3, 20.8, 12.3, 50.0, 24.9, 32.4, 33.7},
	{162, 99.5, 39.0, 57.4, 26.0, 51.2, 74.5, 79.0},
	{159, 99.9, 32.4, 41.0, 26.0, 33.9, 56.2, 43.2},
}

// Published is what the paper says of a policy over all programs, in percent:
// mean and standard deviation of measure 4, mean of measure 3.
type Published struct{ Mean4, SD4, Mean3 float64 }

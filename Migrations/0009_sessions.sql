-- The place of a migration that is on its way: files are numbered without a gap.
SELECT;
